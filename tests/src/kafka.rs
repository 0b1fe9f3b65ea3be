//! Apache Kafka: one real broker in KRaft mode (broker and controller in one process), and what an independent
//! consumer (kcat) reads from it.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::clock::eventually;
use crate::folder::Folder;
use crate::kafka_install;
use crate::ports::Port;
use crate::process::{Process, Spec};
use crate::tools::program;

/// How long Kafka may take to be ready; it takes 4 s alone on an idle machine.
const PATIENCE: Duration = Duration::from_secs(90);
/// An identifier of the cluster: 16 bytes in base64, any.
const CLUSTER: &str = "ZmV0dGxlLXRlc3RiZWQtMQ";

/// How the broker is set up.
#[derive(Debug, Clone, Copy, Default)]
pub struct KafkaOptions {
    /// Whether a client may create a topic by using it. Off, as in production: `fettle-gateway topics apply` creates.
    pub auto_create: bool,
    /// The port to listen on; a free one if `None`.
    pub port: Option<u16>,
}

/// A running Kafka.
#[derive(Debug)]
pub struct Kafka {
    process: Process,
    port: u16,
    _reserved: Vec<Port>,
}

/// One record as kcat saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// When the broker appended it, milliseconds since 1970.
    pub appended: i64,
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: String,
}

impl Kafka {
    /// Formats and starts a broker whose files lie in `folder`, and waits until it answers.
    pub fn start(folder: &Folder, options: KafkaOptions) -> Self {
        let mut reserved = Vec::new();
        let ports = match options.port {
            Some(port) => (port, port + 1),
            None => {
                reserved.extend([Port::reserve(), Port::reserve()]);
                (reserved[0].number(), reserved[1].number())
            }
        };
        let command = prepare(folder, ports, options.auto_create);
        let process = Spec::new("kafka", program("java"), folder.path()).args(command).start();
        let mut kafka = Self { process, port: ports.0, _reserved: reserved };
        kafka.await_ready();
        kafka
    }

    fn await_ready(&mut self) {
        let brokers = self.brokers();
        eventually("Kafka answers", PATIENCE, || {
            self.process.assert_running();
            // The port opens before the broker can serve; a listing that names the broker shows that it does.
            let listing = kcat(&["-b", &brokers, "-L", "-J", "-m", "2"]);
            let text = String::from_utf8_lossy(&listing.stdout);
            if listing.status.success() && text.contains(&brokers) { Ok(()) } else { Err(all_output(&listing)) }
        });
    }

    /// `127.0.0.1:<port>`, for `brokers` in a configuration.
    pub fn brokers(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The process behind it.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// kill -9.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Stops it in good order.
    pub fn stop(&mut self) {
        self.process.stop(PATIENCE);
    }

    /// Starts it again on the same port and data, and waits until it answers.
    pub fn start_again(&mut self) {
        self.process.start_again();
        self.await_ready();
    }

    /// Writes one record with kcat, acknowledged by all replicas.
    pub fn produce(&self, topic: &str, key: &str, value: &str) {
        use std::io::Write;
        let mut producer = Command::new("timeout")
            .arg("60")
            .arg(program("kcat"))
            .args(["-P", "-b", &self.brokers(), "-t", topic, "-k", key, "-X", "acks=all"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kcat was found by require()");
        let mut input = producer.stdin.take().expect("standard input was asked for");
        writeln!(input, "{value}").expect("kcat reads its standard input to the end");
        drop(input);
        let output = producer.wait_with_output().expect("a started process can be waited for");
        assert!(output.status.success(), "kcat could not write to {topic}: {}", all_output(&output));
    }

    /// All committed records of a topic from its beginning to its present end, read by kcat, in the order of each
    /// partition. The error is kcat's, e.g. of an unknown topic.
    pub fn read(&self, topic: &str) -> Result<Vec<Record>, String> {
        let output = kcat(&[
            "-C",
            "-b",
            &self.brokers(),
            "-t",
            topic,
            "-o",
            "beginning",
            "-e",
            "-q",
            "-X",
            "isolation.level=read_committed",
            "-X",
            "check.crcs=true",
            "-f",
            "%p\\t%o\\t%T\\t%k\\t%s\\n",
        ]);
        if !output.status.success() {
            return Err(all_output(&output));
        }
        String::from_utf8_lossy(&output.stdout).lines().map(parse_record).collect()
    }
}

/// Formats the storage in `folder` for a broker and a controller on `ports`; the arguments with which java runs them.
pub fn prepare(folder: &Folder, ports: (u16, u16), auto_create: bool) -> Vec<OsString> {
    let jars = kafka_install::libraries().unwrap_or_else(|e| panic!("{e}; call require() first"));
    let data = folder.subfolder("kafka");
    let properties = folder.write("kafka.properties", properties(ports, &data, auto_create));
    let log4j = folder.write("log4j2.properties", LOG4J);
    let mut log_option = OsString::from("-Dlog4j2.configurationFile=");
    log_option.push(&log4j);
    // Only the quick compiler: on two cores the optimising one would take from the processes under test.
    let java = |heap: &str| -> Vec<OsString> {
        let options = [heap, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"].map(OsString::from);
        options.into_iter().chain([jars.join("*").into_os_string(), log_option.clone()]).collect()
    };
    let format = Command::new(program("java"))
        .args(java("-Xmx256m"))
        .args(["kafka.tools.StorageTool", "format", "--cluster-id", CLUSTER, "--ignore-formatted", "--config"])
        .arg(&properties)
        .stdin(Stdio::null())
        .output()
        .expect("java was found by require()");
    assert!(format.status.success(), "kafka.tools.StorageTool failed:\n{}", all_output(&format));
    let mut arguments = java("-Xmx512m");
    arguments.extend([OsString::from("kafka.Kafka"), properties.into_os_string()]);
    arguments
}

fn parse_record(line: &str) -> Result<Record, String> {
    let mut fields = line.splitn(5, '\t');
    let mut next = || fields.next().ok_or_else(|| format!("not a record: {line}"));
    let number = |text: &str| text.parse::<i64>().map_err(|e| format!("{text}: {e} in {line}"));
    Ok(Record {
        partition: i32::try_from(number(next()?)?).map_err(|e| e.to_string())?,
        offset: number(next()?)?,
        appended: number(next()?)?,
        key: next()?.to_owned(),
        value: next()?.to_owned(),
    })
}

fn kcat(arguments: &[&str]) -> Output {
    // A client of a broker that is away may wait for ever.
    Command::new("timeout")
        .arg("60")
        .arg(program("kcat"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("kcat was found by require()")
}

fn all_output(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn properties((port, controller): (u16, u16), data: &Path, auto_create: bool) -> String {
    format!(
        "\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
log.dirs={}
auto.create.topics.enable={auto_create}
num.partitions=3
# A record's time is when it arrived, which tells what arrived first.
log.message.timestamp.type=LogAppendTime
# One broker: nothing can be replicated.
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
# Fewer internal partitions and no waiting for further members: quick starts, the same semantics.
offsets.topic.num.partitions=4
transaction.state.log.num.partitions=4
group.initial.rebalance.delay.ms=0
",
        data.display()
    )
}

const LOG4J: &str = "\
rootLogger.level = warn
rootLogger.appenderRefs = out
rootLogger.appenderRef.out.ref = out
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d %p %c{1}: %m%n
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_may_hold_tabs() {
        let record = parse_record("1\t7\t1790000000000\tplant-a/pump\t{\"a\":\t1}").unwrap();
        assert_eq!((record.partition, record.offset, record.appended), (1, 7, 1_790_000_000_000));
        assert_eq!((record.key.as_str(), record.value.as_str()), ("plant-a/pump", "{\"a\":\t1}"));
        assert!(parse_record("1\t7").is_err());
    }
}

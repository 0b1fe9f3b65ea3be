//! Finds Apache Kafka or fetches it once: the broker's jars by Maven into `target/fettle-testbed/kafka-<version>`.
//!
//! A lock file lets parallel tests fetch once; a marker written last says that the folder is complete.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::folder::testbed_folder;
use crate::tools::program_path;

/// The version that is tested against.
pub const VERSION: &str = "4.1.1";
/// The logging back end that Kafka's own distribution has; without it a broker that fails says nothing.
const LOG4J: &str = "2.24.3";

/// The folder with Kafka's jars, fetched if need be. The error says what is missing.
pub fn libraries() -> Result<PathBuf, String> {
    if program_path("java").is_none() {
        return Err("java is not installed".to_owned());
    }
    let folder = testbed_folder().join(format!("kafka-{VERSION}"));
    let complete = folder.join("complete");
    let jars = folder.join("libs");
    if complete.exists() {
        return Ok(jars);
    }
    fs::create_dir_all(&folder).map_err(|e| format!("cannot create {}: {e}", folder.display()))?;
    let lock = File::create(folder.join("lock")).map_err(|e| format!("cannot create a lock file: {e}"))?;
    lock.lock().map_err(|e| format!("cannot lock {}: {e}", folder.display()))?;
    if !complete.exists() {
        fetch(&folder, &jars)?;
        fs::write(&complete, "").map_err(|e| format!("cannot write {}: {e}", complete.display()))?;
    }
    Ok(jars)
}

fn fetch(folder: &Path, jars: &Path) -> Result<(), String> {
    let maven = program_path("mvn").ok_or("Kafka is not fetched yet and mvn is not installed")?;
    let project = folder.join("pom.xml");
    fs::write(&project, project_file()).map_err(|e| format!("cannot write {}: {e}", project.display()))?;
    let output = Command::new(maven)
        .args(["--batch-mode", "--quiet", "dependency:copy-dependencies", "-DincludeScope=runtime"])
        .arg(format!("-DoutputDirectory={}", jars.display()))
        .arg("--file")
        .arg(&project)
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("cannot start mvn: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let end: Vec<_> = text.lines().rev().take(12).collect();
    Err(format!("mvn could not fetch Kafka {VERSION}:\n{}", end.into_iter().rev().collect::<Vec<_>>().join("\n")))
}

fn project_file() -> String {
    format!(
        r#"<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>local</groupId><artifactId>testbed-kafka</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>{LOG4J}</version></dependency>
  </dependencies>
</project>
"#
    )
}

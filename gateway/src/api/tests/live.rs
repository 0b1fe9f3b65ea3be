//! Events over real sockets: everyone hears everything, whoever returns hears what was missed, and one that takes
//! nothing delays nobody and is cut off.

use super::*;

struct Listening {
    stream: TcpStream,
    heard: String,
}

impl Listening {
    async fn start(running: &Running, headers: &str) -> Self {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        let request = format!("GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        Self { stream, heard: String::new() }
    }

    /// Reads until it has heard `text`.
    async fn until(&mut self, text: &str) -> &str {
        let mut buffer = vec![0; 64 << 10];
        while !self.heard.contains(text) {
            let read = self.stream.read(&mut buffer).await.unwrap();
            assert!(read > 0, "ended without {text}: {}", self.heard);
            self.heard.push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
        &self.heard
    }

    fn ids(&self) -> Vec<&str> {
        self.heard.lines().filter_map(|line| line.strip_prefix("id: ")).collect()
    }
}

/// Numbers of the events "n" in the order heard.
fn numbers(heard: &str) -> Vec<u32> {
    heard
        .lines()
        .filter_map(|line| line.strip_prefix("data: ")?.strip_prefix('"')?.split('-').next()?.parse().ok())
        .collect()
}

#[tokio::test]
async fn each_of_several_listeners_hears_every_event_in_order() {
    let running = Running::start(Vec::new()).await;
    let mut all = Vec::new();
    for _ in 0..5 {
        let mut one = Listening::start(&running, "").await;
        let head = one.until("event: hello").await.to_lowercase();
        assert!(head.contains("content-type: text/event-stream") && head.contains("retry: 2000"), "{head}");
        all.push(one);
    }
    (0..50).for_each(|n| running.api.hub.publish("n", &format!("{n}-")));
    for one in &mut all {
        assert_eq!(numbers(one.until("\"49-\"").await), (0..50).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn whoever_returns_hears_what_was_missed_or_is_told_to_begin_again() {
    let running = Running::start(Vec::new()).await;
    let mut first = Listening::start(&running, "").await;
    first.until("event: hello").await;
    running.api.hub.publish("n", &"1-");
    first.until("\"1-\"").await;
    let id = first.ids().last().unwrap().to_string();
    drop(first);
    running.api.hub.publish("n", &"2-");
    let mut back = Listening::start(&running, &format!("Last-Event-ID: {id}\r\n")).await;
    assert_eq!(numbers(back.until("\"2-\"").await), [2]);
    let mut stranger = Listening::start(&running, "Last-Event-ID: other-7\r\n").await;
    stranger.until("event: reset").await;
}

#[tokio::test]
async fn a_listener_that_takes_nothing_delays_nobody_and_is_cut_off_and_counted() {
    let running = Running::start(Vec::new()).await;
    let mut slow = Listening::start(&running, "").await;
    slow.until("event: hello").await;
    let mut quick = Listening::start(&running, "").await;
    quick.until("event: hello").await;
    // Far more than the ring and both sockets' buffers hold, until the slow one is gone.
    let text = "x".repeat(10_000);
    let mut sent = 0;
    while running.api.metrics.event_readers_cut_off("slow") == 0 {
        for _ in 0..20 {
            running.api.hub.publish("n", &format!("{sent}-{text}"));
            sent += 1;
        }
        let newest = format!("\"{}-", sent - 1);
        quick.until(&newest).await;
        assert!(sent < 100_000, "never cut off");
    }
    assert_eq!(numbers(&quick.heard), (0..sent).collect::<Vec<_>>(), "the other one heard everything");
    running.api.hub.publish("n", &"999999-");
    quick.until("\"999999-\"").await;
}

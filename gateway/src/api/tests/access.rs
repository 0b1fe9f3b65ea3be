//! Who is let in, over real sockets: each refusal, and what is let through.

use super::*;
use crate::access::tokens::tests::line;

async fn guarded() -> Running {
    let folder = tempfile::tempdir().unwrap();
    let tokens = line("Ada L", "operator", "op") + &line("wall", "viewer", "view");
    std::fs::write(folder.path().join("tokens"), tokens).unwrap();
    let more = "[access]\ntoken_file = \"tokens\"\nhosts = [\"fleet.example\"]\n";
    Running::start_with(with_alarm(), more, folder).await
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\nContent-Type: application/json\r\n")
}

#[tokio::test]
async fn without_a_token_only_the_page_and_its_session_are_open() {
    let running = guarded().await;
    for path in ["/", "/app/app.js", "/healthz", "/api/v1/session"] {
        assert_eq!(running.get(path).await.0, 200, "{path}");
    }
    for (_, path) in routes().listed.into_iter().filter(|(method, _)| *method == "get") {
        if matches!(path, "/" | "/app/{file}" | "/healthz" | "/api/v1/session") {
            continue;
        }
        let (status, answer) = running.get(path).await;
        assert!(status == 401 && answer.contains("www-authenticate: Bearer"), "{path}: {answer}");
    }
    assert_eq!(running.post(ACK, "{}").await.0, 401);
    assert_eq!(running.get("/api/v1/none").await.0, 401, "what there is, is not told either");
}

#[tokio::test]
async fn a_viewer_reads_and_an_operator_asks_under_the_tokens_name() {
    let running = guarded().await;
    for path in ["/metrics", "/api/v1/alarms"] {
        assert_eq!(running.send(&format!("GET {path}"), &bearer("view"), "").await.0, 200);
    }
    let body = "{\"person\": \"somebody else\", \"occurrence\": 2}";
    let (status, answer) = running.send(&format!("POST {ACK}"), &bearer("view"), body).await;
    assert!(status == 403 && answer.contains("role operator"), "{answer}");
    // Past the guard; Kafka is away.
    assert_eq!(running.send(&format!("POST {ACK}"), &bearer("op"), "{\"occurrence\": 2}").await.0, 503);
    assert_eq!(running.send(&format!("POST {ACK}"), &bearer("op"), body).await.0, 503);
    let known = crate::access::Caller::Known(crate::access::Person {
        name: "Ada L".into(),
        role: crate::access::Role::Operator,
    });
    assert_eq!(act::person(&known, Some("somebody else")).ok(), Some("Ada L"), "the token's name counts");
}

#[tokio::test]
async fn a_token_begins_a_session_which_a_cookie_carries_until_it_ends() {
    let running = guarded().await;
    let (status, answer) = running.post("/api/v1/session", "{\"token\": \"view\"}").await;
    assert!(status == 200 && answer.contains("\"person\":\"wall\",\"role\":\"viewer\""), "{answer}");
    let cookie = answer.lines().find_map(|l| l.strip_prefix("set-cookie: ")).unwrap();
    assert!(cookie.contains("HttpOnly; SameSite=Strict"), "{cookie}");
    let cookie = format!("Cookie: {}\r\n", cookie.split(';').next().unwrap());
    assert_eq!(running.send("GET /api/v1/alarms", &cookie, "").await.0, 200);
    let json = format!("{cookie}Content-Type: application/json\r\n");
    assert_eq!(running.send(&format!("POST {ACK}"), &json, "{\"occurrence\": 2}").await.0, 403);
    let changed = cookie.replace("fettle_session=", "fettle_session=1");
    assert_eq!(running.send("GET /api/v1/alarms", &changed, "").await.0, 401);
    let (_, ended) = running.send("POST /api/v1/session/end", &cookie, "").await;
    assert!(ended.contains("fettle_session=; Path=/; Max-Age=0"), "{ended}");
}

#[tokio::test]
async fn who_is_wrong_too_often_waits_even_with_the_right_token() {
    let running = guarded().await;
    for _ in 0..crate::access::failures::MANY {
        assert_eq!(running.post("/api/v1/session", "{\"token\": \"guess\"}").await.0, 401);
    }
    let (status, answer) = running.post("/api/v1/session", "{\"token\": \"op\"}").await;
    assert!(status == 429 && answer.contains("retry-after: 60"), "{answer}");
    assert_eq!(running.send("GET /metrics", &bearer("view"), "").await.0, 429);
    assert_eq!(running.get("/").await.0, 200);
}

async fn under(running: &Running, hosts: &str) -> u16 {
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let request = format!("GET /app/app.css HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_foreign_host_name_is_turned_away_with_and_without_tokens() {
    let (guarded, open) = (guarded().await, Running::start(Vec::new()).await);
    for running in [&guarded, &open] {
        assert_eq!(under(running, "Host: evil.example\r\n").await, 421);
        assert_eq!(under(running, "Host: localhost\r\nHost: evil.example\r\n").await, 421);
        assert_eq!(under(running, "").await, 421);
        assert_eq!(under(running, "Host: 127.0.0.1:8080\r\n").await, 200);
    }
    assert_eq!(under(&guarded, "Host: fleet.example\r\n").await, 200);
}

#[tokio::test]
async fn a_head_without_end_and_too_many_requests_at_once_are_refused() {
    let running = Running::start(Vec::new()).await;
    let (status, _) = running.send("GET /healthz", &format!("X: {}\r\n", "x".repeat(64 << 10)), "").await;
    assert_ne!(status, 200);
    let held = running.api.places.try_acquire_many(u32::try_from(guard::AT_ONCE).unwrap()).unwrap();
    assert_eq!(running.get("/healthz").await.0, 503);
    drop(held);
    assert_eq!(running.get("/healthz").await.0, 200);
}

//! The agent's only listener: metrics, health and status over HTTP on loopback, read-only.
//!
//! | path | answer |
//! |---|---|
//! | `/metrics` | Prometheus text |
//! | `/healthz` | 200 while the process answers |
//! | `/readyz` | 200 when frames can be taken, else 503 with the reasons, one a line |
//! | `/status` | the whole [`Report`] as JSON |
//!
//! It serves the last report and asks the daemon nothing, so a scrape costs ingest nothing and a stuck daemon still
//! answers. No path changes anything; the configuration allows loopback addresses only.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::events;
use crate::status::report::{ProcessStatus, Report};

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The address cannot be had. A retry helps once whoever has it is gone.
    #[error(
        "cannot listen on {address} for metrics and status; write another port in http.listen, or stop whoever has it"
    )]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The listener broke.
    #[error("the server of metrics and status ended")]
    Serve(#[source] io::Error),
}

/// Takes the address, so that a start with a taken port fails at once.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, HttpError> {
    TcpListener::bind(address).await.map_err(|source| HttpError::Bind { address, source })
}

/// Serves the newest of `reports` until `stop` resolves.
pub async fn serve(
    listener: TcpListener,
    reports: watch::Receiver<Arc<Report>>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), HttpError> {
    if let Ok(address) = listener.local_addr() {
        tracing::info!(event = "http.listening", %address, "serving metrics and status");
    }
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .route("/status", get(status))
        .with_state(reports);
    axum::serve(listener, router).with_graceful_shutdown(stop).await.map_err(HttpError::Serve)
}

type Reports = State<watch::Receiver<Arc<Report>>>;

/// The newest report with the process as it is now.
fn newest(State(reports): &Reports) -> Report {
    let mut report = Report::clone(&reports.borrow());
    report.process = ProcessStatus::read();
    report
}

async fn metrics(reports: Reports) -> Response {
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (kind, events::exposition(&newest(&reports))).into_response()
}

async fn ready(State(reports): Reports) -> Response {
    let reasons = reports.borrow().not_ready();
    if reasons.is_empty() {
        return "ready\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", reasons.join("\n"))).into_response()
}

async fn status(reports: Reports) -> Response {
    match serde_json::to_vec(&newest(&reports)) {
        Ok(json) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
        Err(e) => {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("the report cannot be written as JSON: {e}\n")).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;
    use crate::status;

    /// Serves `report` on a free port, runs `client` against it, and ends the server.
    fn with_server(report: Report, client: impl FnOnce(SocketAddr)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(bind(SocketAddr::from(([127, 0, 0, 1], 0)))).unwrap();
        let address = listener.local_addr().unwrap();
        let (_sender, reports) = watch::channel(Arc::new(report));
        let (stop, stopped) = oneshot::channel::<()>();
        let server = runtime.spawn(serve(listener, reports, async {
            let _ = stopped.await;
        }));
        client(address);
        stop.send(()).unwrap();
        runtime.block_on(server).unwrap().unwrap();
    }

    fn get(address: SocketAddr, path: &str) -> (u16, String) {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let mut response = agent.get(format!("http://{address}{path}")).call().unwrap();
        (response.status().as_u16(), response.body_mut().read_to_string().unwrap())
    }

    #[test]
    fn every_metric_of_the_catalogue_is_served() {
        with_server(status::tests::example(), |address| {
            let (code, text) = get(address, "/metrics");
            assert_eq!(code, 200);
            for metric in events::METRICS {
                assert!(text.lines().any(|l| l.starts_with(metric.name)), "{}", metric.name);
            }
            assert!(text.contains("fettle_agent_readings_rejected_total{reason=\"out_of_range\"} 7\n"), "{text}");
        });
    }

    #[test]
    fn an_agent_without_a_broker_is_alive_and_not_ready_and_says_why() {
        let mut report = status::tests::example();
        report.mqtt.connected = false;
        report.mqtt.last_error = Some("connection refused".to_owned());
        with_server(report, |address| {
            assert_eq!(get(address, "/healthz"), (200, "alive\n".to_owned()));
            let (code, text) = get(address, "/readyz");
            assert_eq!(code, 503);
            assert!(text.contains("connection refused"), "{text}");
        });
    }

    #[test]
    fn status_is_the_report_that_the_command_reads_back() {
        let report = status::tests::example();
        with_server(report.clone(), |address| {
            let mut read = status::fetch(address).unwrap();
            assert!(read.process.resident_bytes > 0);
            read.process = report.process.clone();
            assert_eq!(read, report);
        });
    }

    #[test]
    fn a_taken_port_is_named_with_the_key_to_change() {
        with_server(status::tests::example(), |address| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let error = runtime.block_on(bind(address)).unwrap_err().to_string();
            assert!(error.contains(&address.to_string()) && error.contains("http.listen"), "{error}");
        });
    }
}

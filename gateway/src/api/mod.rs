//! The REST API and the page, on loopback. Reads the local copy only; the one thing it writes is commands.
//!
//! Bounds: bodies of 16 KiB, lists of 10,000. A request that changes something must be `application/json`, which a page
//! of another origin cannot send without asking first. Reading the copy happens on blocking threads, so a large fleet
//! does not hold up the others. Errors are RFC 9457 `application/problem+json`.

mod act;
mod page;
mod problem;
mod show;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, Method, Uri};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post};

use crate::commands::Commands;
use crate::events::Metrics;
use crate::fleet::overview::{Cache, Overview};
use crate::fleet::{Store, StoreError};
use crate::status::Status;
use problem::Problem;

/// The largest request body, in bytes.
const MAX_BODY: usize = 16 * 1024;

/// What the handlers share.
pub struct Api {
    /// The copy.
    pub store: Arc<Store>,
    /// What the threads say of themselves.
    pub status: Arc<Status>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// How commands are sent.
    pub commands: Commands,
    /// One overview for all that ask.
    pub cache: Cache,
}

type Shared = State<Arc<Api>>;

impl Api {
    /// Reads the copy on a blocking thread.
    async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Self) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Problem> {
        let api = Arc::clone(self);
        match tokio::task::spawn_blocking(move || read(&api)).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(Problem::internal(&error.to_string())),
            Err(_) => Err(Problem::internal("reading the store was interrupted")),
        }
    }

    async fn overview(self: &Arc<Self>) -> Result<Arc<Overview>, Problem> {
        self.read(|api| api.cache.get(&api.store)).await
    }
}

/// Every route.
pub fn router(api: Arc<Api>) -> Router {
    Router::new()
        .route("/", get(page::page))
        .route("/page.css", get(page::css))
        .route("/page.js", get(page::js))
        .route("/healthz", get(show::healthz))
        .route("/metrics", get(show::metrics))
        .route("/api/v1/assets", get(show::assets))
        .route("/api/v1/assets/{site}/{asset}", get(show::asset))
        .route("/api/v1/assets/{site}/{asset}/adopt", post(act::adopt))
        .route("/api/v1/alarms", get(show::alarms))
        .route("/api/v1/alarms/{site}/{asset}/{condition}/acknowledge", post(act::acknowledge))
        .route("/api/v1/ledger", get(show::ledger))
        .route("/api/v1/lag", get(show::lag))
        .fallback(no_such_page)
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(Arc::clone(&api), around))
        .with_state(api)
}

async fn no_such_page(uri: Uri) -> Problem {
    Problem::not_found(&format!("there is no {}; the page at / links to what there is", uri.path()))
}

async fn no_such_method(method: Method, uri: Uri) -> Problem {
    Problem::new(405, "method not allowed", &format!("{} does not answer to {method}", uri.path()))
}

/// Counts every answer and says what a browser may do with it.
async fn around(State(api): Shared, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    api.metrics.request(response.status().as_u16());
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let policy = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; form-action 'self'; \
                  base-uri 'none'; frame-ancestors 'none'";
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    response
}

#[cfg(test)]
mod tests;

//! The REST API, the events and the dashboard. Reads the local copy and the history only; the one thing it
//! writes is commands.
//!
//! Bounds: bodies of 16 KiB, lists of 10,000, curves of 5,000 points, 1,000 listeners, 256
//! requests at once, heads of 32 KiB, 30 s. Who may do what is judged in [`guard`] before any of it. Reading happens on blocking threads, so a large fleet does not
//! hold up the others. Errors are RFC 9457 `application/problem+json`. What there is, is described by [`openapi`], made
//! of the code; a test holds every route and every answer against it.

mod act;
mod alarm_act;
mod alarms;
mod ask;
mod assets;
mod dashboard;
mod events;
mod evidence;
mod fleet;
mod guard;
mod label_act;
pub mod listen;
mod openapi;
mod problem;
pub(crate) mod schema;
mod session;
pub(crate) mod tls;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::handler::Handler;
use axum::http::{Method, Uri};
use axum::middleware;
use axum::routing;
use fettle_wire::{Micros, time};

use crate::access::Access;
use crate::commands::Commands;
use crate::events::Metrics;
use crate::fleet::overview::{Cache, Overview};
use crate::fleet::{Store, StoreError};
use crate::history::{History, HistoryError};
use crate::live::Hub;
use crate::status::Status;
use problem::Problem;
use tokio::sync::Semaphore;

/// The largest request body, in bytes.
const MAX_BODY: usize = 16 * 1024;
/// An asset that was not heard of for this long shows nothing of the present: three publishing intervals.
const STALE_AFTER: Micros = 3 * time::MINUTE;

/// What the handlers share.
pub struct Api {
    /// The copy.
    pub store: Arc<Store>,
    /// The past.
    pub history: Arc<History>,
    /// What open pages hear.
    pub hub: Arc<Hub>,
    /// What the threads say of themselves.
    pub status: Arc<Status>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// How commands are sent.
    pub commands: Commands,
    /// One overview for all that ask.
    pub cache: Arc<Cache>,
    /// Who may do what.
    pub access: Access,
    /// Places for requests that are being answered.
    pub places: Semaphore,
}

/// Places for as many requests as are answered at the same time.
pub fn places() -> Semaphore {
    Semaphore::new(guard::AT_ONCE)
}

type Shared = State<Arc<Api>>;

impl Api {
    async fn blocking<T: Send + 'static, E: std::fmt::Display + Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Self) -> Result<T, E> + Send + 'static,
    ) -> Result<T, Problem> {
        let api = Arc::clone(self);
        match tokio::task::spawn_blocking(move || read(&api)).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(Problem::internal(&error.to_string())),
            Err(_) => Err(Problem::internal("reading the store was interrupted")),
        }
    }

    /// Reads the copy on a blocking thread.
    async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Self) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Problem> {
        self.blocking(read).await
    }

    /// Reads the history on a blocking thread.
    async fn look_back<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&History) -> Result<T, HistoryError> + Send + 'static,
    ) -> Result<T, Problem> {
        self.blocking(move |api| read(&api.history)).await
    }

    async fn overview(self: &Arc<Self>) -> Result<Arc<Overview>, Problem> {
        self.read(|api| api.cache.get(&api.store)).await
    }
}

/// Routes as they are registered, with a list of them: axum does not tell what it was given.
struct Routes {
    router: Router<Arc<Api>>,
    listed: Vec<(&'static str, &'static str)>,
}

impl Routes {
    fn get<T: 'static>(mut self, path: &'static str, handler: impl Handler<T, Arc<Api>>) -> Self {
        self.listed.push(("get", path));
        Self { router: self.router.route(path, routing::get(handler)), ..self }
    }

    fn post<T: 'static>(mut self, path: &'static str, handler: impl Handler<T, Arc<Api>>) -> Self {
        self.listed.push(("post", path));
        Self { router: self.router.route(path, routing::post(handler)), ..self }
    }
}

fn routes() -> Routes {
    Routes { router: Router::new(), listed: Vec::new() }
        .get("/", dashboard::page)
        .get("/app/{file}", dashboard::file)
        .get("/healthz", fleet::healthz)
        .get("/metrics", fleet::metrics)
        .get("/api/v1/openapi.json", openapi::document)
        .get("/api/v1/assets", assets::assets)
        .get("/api/v1/assets/{site}/{asset}", assets::asset)
        .get("/api/v1/assets/{site}/{asset}/history", assets::history)
        .get("/api/v1/assets/{site}/{asset}/evidence", evidence::list)
        .get("/api/v1/assets/{site}/{asset}/evidence/{id}", evidence::one)
        .post("/api/v1/assets/{site}/{asset}/adopt", act::adopt)
        .post("/api/v1/assets/{site}/{asset}/labels", label_act::labels)
        .get("/api/v1/alarms", alarms::alarms)
        .get("/api/v1/alarms/history", alarms::log)
        .post("/api/v1/alarms/{site}/{asset}/{condition}/acknowledge", alarm_act::acknowledge)
        .post("/api/v1/alarms/{site}/{asset}/{condition}/shelve", alarm_act::shelve)
        .post("/api/v1/alarms/{site}/{asset}/{condition}/unshelve", alarm_act::unshelve)
        .post("/api/v1/alarms/{site}/{asset}/{condition}/comment", alarm_act::comment)
        .post("/api/v1/alarms/{site}/{asset}/{condition}/label", alarm_act::label)
        .get("/api/v1/ledger", fleet::ledger)
        .get("/api/v1/lag", fleet::lag)
        .get("/api/v1/sites", fleet::sites)
        .get("/api/v1/audit", fleet::audit)
        .get("/api/v1/events", events::events)
        .get("/api/v1/session", session::show)
        .post("/api/v1/session", session::begin)
        .post("/api/v1/session/end", session::end)
}

/// Every route.
pub fn router(api: Arc<Api>) -> Router {
    routes()
        .router
        .fallback(no_such_page)
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(Arc::clone(&api), guard::around))
        .with_state(api)
}

async fn no_such_page(uri: Uri) -> Problem {
    Problem::not_found(&format!("there is no {}; what there is, is described at /api/v1/openapi.json", uri.path()))
}

async fn no_such_method(method: Method, uri: Uri) -> Problem {
    Problem::new(405, "method not allowed", &format!("{} does not answer to {method}", uri.path()))
}

#[cfg(test)]
mod tests;

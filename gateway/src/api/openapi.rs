//! The OpenAPI 3.1 document, made of the handlers and the types they answer with.

use axum::Json;
use utoipa::OpenApi;

use super::{act, alarm_act, alarms, assets, dashboard, events, evidence, fleet, label_act, session};

/// The document.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "fettle fleet gateway",
        description = "Condition of a fleet's machines, their alarms with evidence, their history, and the account of \
                       every reading. Times are microseconds UTC, event time unless said otherwise; values are SI. \
                       With [access] every request needs a token (Authorization: Bearer, or the \
                       session's cookie): 401 without, 403 where the role does not suffice, 429 after too many wrong ones. \
                       Writes name a person (the token's name counts before the body's), are requests to an agent and stay pending until it confirms.",
        license(name = "MIT or Apache 2.0", identifier = "MIT OR Apache-2.0")
    ),
    components(schemas(act::Answer)),
    paths(
        dashboard::page,
        dashboard::file,
        fleet::healthz,
        fleet::metrics,
        document,
        assets::assets,
        assets::asset,
        assets::history,
        evidence::list,
        evidence::one,
        act::adopt,
        label_act::labels,
        alarms::alarms,
        alarms::log,
        alarm_act::acknowledge,
        alarm_act::shelve,
        alarm_act::unshelve,
        alarm_act::comment,
        alarm_act::label,
        fleet::ledger,
        fleet::lag,
        fleet::sites,
        fleet::audit,
        events::events,
        session::show,
        session::begin,
        session::end,
    ),
    tags(
        (name = "assets", description = "Machines: what they are like now and were like before"),
        (name = "alarms", description = "Alarms after ISA-18.2"),
        (name = "account", description = "What became of every record, reading and request"),
        (name = "live", description = "What changes, at once"),
        (name = "instance", description = "This process"),
        (name = "dashboard", description = "The page for people"),
    )
)]
pub(super) struct Document;

/// This document.
#[utoipa::path(get, path = "/api/v1/openapi.json", tag = "instance",
    responses((status = 200, body = Object, description = "OpenAPI 3.1")))]
pub(super) async fn document() -> Json<utoipa::openapi::OpenApi> {
    Json(Document::openapi())
}

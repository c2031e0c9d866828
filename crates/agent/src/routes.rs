//! The routes, and the OpenAPI document that is made from them.

mod about;
mod cells;
mod find;
mod fresh;
mod leases;
mod secrets;
mod tokens;

use axum::Router;
use axum::middleware::from_fn_with_state;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::agent::Agent;
use crate::gate;

/// The routes that need the header, and what each is called in audit events and metrics.
const ROUTES: [(&str, &str); 10] = [
    ("/v1/tokens/get", "get"),
    ("/v1/tokens/put", "put"),
    ("/v1/tokens/delete", "delete"),
    ("/v1/tokens/fresh", "fresh"),
    ("/v1/tokens/find", "find"),
    ("/v1/tokens/lease", "lease"),
    ("/v1/tokens/release", "release"),
    ("/v1/open", "open"),
    ("/v1/seal", "seal"),
    ("/v1/secrets/get", "secret"),
];

/// Names of requests in metrics.
pub(crate) const OPERATIONS: [&str; ROUTES.len()] = {
    let mut names = [""; ROUTES.len()];
    let mut at = 0;
    while at < ROUTES.len() {
        names[at] = ROUTES[at].1;
        at += 1;
    }
    names
};

/// The name of a request for this path in metrics.
pub(crate) fn operation(path: &str) -> &'static str {
    ROUTES.iter().find(|(route, _)| *route == path).map_or("other", |(_, name)| name)
}

#[derive(OpenApi)]
#[openapi(info(
    title = "Tokenseal agent",
    description = "Opens, seals and keeps a service's tokens. HTTP/1.1 and JSON over a Unix socket, or over a loopback \
                   port with a token. Every POST carries `X-Tokenseal: 1`."
))]
struct Document;

/// The routes of an agent.
pub(crate) fn router(agent: &Agent) -> Router {
    let (guarded, _) = guarded().split_for_parts();
    let guarded = guarded.fallback(gate::no_route).method_not_allowed_fallback(gate::no_method);
    let (open, _) = open().split_for_parts();
    guarded
        .layer(from_fn_with_state(agent.clone(), gate::gate))
        .merge(open.method_not_allowed_fallback(gate::no_method))
        .layer(from_fn_with_state(agent.clone(), gate::host))
        .with_state(agent.clone())
}

/// The OpenAPI document, as JSON.
#[must_use]
pub fn openapi() -> String {
    let routes = OpenApiRouter::with_openapi(Document::openapi()).merge(guarded()).merge(open());
    routes.into_openapi().to_json().unwrap_or_default()
}

fn guarded() -> OpenApiRouter<Agent> {
    OpenApiRouter::new()
        .routes(routes!(tokens::get))
        .routes(routes!(tokens::put))
        .routes(routes!(tokens::delete))
        .routes(routes!(fresh::fresh))
        .routes(routes!(find::find))
        .routes(routes!(leases::lease))
        .routes(routes!(leases::release))
        .routes(routes!(cells::open))
        .routes(routes!(cells::seal))
        .routes(routes!(secrets::get))
}

fn open() -> OpenApiRouter<Agent> {
    OpenApiRouter::new()
        .routes(routes!(about::healthz))
        .routes(routes!(about::readyz))
        .routes(routes!(about::metrics))
        .routes(routes!(about::openapi))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_guarded_route_is_in_the_document_and_has_a_name() {
        let paths = guarded().into_openapi().paths.paths;
        let named: Vec<&str> = ROUTES.iter().map(|(path, _)| *path).collect();
        assert_eq!(paths.len(), named.len());
        for path in paths.keys() {
            assert!(named.contains(&path.as_str()), "{path}");
        }
        assert_eq!(operation("/v1/open"), "open");
        assert_eq!(operation("/v1/other"), "other");
    }
}

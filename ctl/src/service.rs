//! What there is to know of a service beside its breakers: whether breakerd knows it, and its override, which applies
//! also where no breaker of the service is in use.

use breaker::Time;
use breakerd_api::v1::{GetConfigRequest, ListConfigsRequest, ServiceConfig, ServiceOverride, State};

use super::connect::Connection;
use super::error::Failure;
use super::pages::PAGE;
use super::screen::style_of;
use super::table::Cell;
use super::{times, why, words};

/// Printed instead of a name for all breakers of a service: no breaker can have this name.
pub(super) const ALL: &str = "(all)";

/// Fails where breakerd does not know the service, with the name that was probably meant.
pub(super) async fn check_exists(service: &str, connection: &Connection) -> Result<(), Failure> {
    config(service, true, connection).await.map(drop)
}

/// The configuration of a service; if it need not exist and does not, the defaults.
pub(super) async fn config(
    service: &str,
    must_exist: bool,
    connection: &Connection,
) -> Result<ServiceConfig, Failure> {
    let mut configs = connection.configs();
    let request = GetConfigRequest { service: service.to_owned(), must_exist };
    let response = connection.call(request, async |request| configs.get_config(request).await).await?;
    response.config.ok_or(Failure::Incomplete("config"))
}

/// The services that have an override now; only `service`, if one is given.
pub(super) async fn overridden(
    service: Option<&str>,
    connection: &Connection,
) -> Result<Vec<ServiceConfig>, Failure> {
    let mut found = match service {
        Some(service) => vec![config(service, false, connection).await?],
        None => Vec::new(),
    };
    let mut request = ListConfigsRequest { page_size: PAGE, overridden: true, ..Default::default() };
    while service.is_none() {
        let mut configs = connection.configs();
        let page =
            connection.call(request.clone(), async |request| configs.list_configs(request).await).await?;
        found.extend(page.configs);
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    // A server that does not know the filter lists all.
    found.retain(|config| config.r#override.is_some());
    Ok(found)
}

/// The state that the override of a service puts its breakers in.
pub(super) fn state(config: &ServiceConfig) -> State {
    match &config.r#override {
        Some(_) if !config.enabled => State::Disabled,
        Some(set) => set.state(),
        None => State::Unspecified,
    }
}

/// A row of `ls` that stands for all breakers of a service, those too that do not exist yet.
pub(super) fn row(config: &ServiceConfig, set: &ServiceOverride, now: Time) -> Vec<Cell> {
    let state = i32::from(state(config));
    let none = || Cell::from("-");
    let ends = set.expires_at.as_ref().filter(|_| state == i32::from(State::ForcedOpen));
    vec![
        Cell::from(&*config.service),
        Cell::from(ALL),
        Cell::styled(words::state(state), style_of(state)),
        set.set_at.as_ref().map_or_else(none, |at| Cell::from(times::age(at, now))),
        none(),
        none(),
        ends.map_or_else(none, |ends| Cell::from(times::until(ends, now))),
        Cell::from(why::of_service(config, set)),
    ]
}

/// An override of a service in a line: its state, who set it, why and until when.
pub(super) fn summary(set: &ServiceOverride) -> String {
    let ends = set.expires_at.as_ref().map_or_else(String::new, |at| format!(", until {}", times::clock(at)));
    format!("{}, {}: {}{ends}", words::state(set.state), set.actor, set.reason)
}

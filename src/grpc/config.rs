//! `ConfigService`: shows and changes the thresholds of services.

use std::sync::Arc;

use breakerd_api::v1;
use breakerd_api::v1::config_service_server::ConfigService;
use tonic::{Request, Response, Status};

use super::client_info::ClientInfo;
use super::convert::{self, ChangeList, ConfigList};
use super::deadline::{self, Effect};
use super::history_reads::HistoryReads;
use super::status::Failure;
use super::suggestion;
use super::unknown_name::UnknownName;
use super::watch::{self, Watch, Watches};
use crate::app::{App, Loaded};
use crate::auth::Right;
use crate::control::{Update, Updated};

/// The service on an app.
pub(super) struct Configs {
    app: Arc<App>,
    watches: Watches,
    reads: HistoryReads,
}

impl Configs {
    pub(super) fn new(app: Arc<App>, watches: Watches, reads: HistoryReads) -> Self {
        Self { app, watches, reads }
    }

    fn loaded(&self) -> Result<&Loaded, Failure> {
        self.app.loaded().ok_or_else(|| Failure::not_loaded(&self.app))
    }

    async fn update(&self, update: Update) -> Result<Updated, Failure> {
        self.loaded()?.control.update(update).await.map_err(convert::change_failure)
    }
}

#[tonic::async_trait]
impl ConfigService for Configs {
    async fn get_config(
        &self,
        request: Request<v1::GetConfigRequest>,
    ) -> Result<Response<v1::GetConfigResponse>, Status> {
        let client = ClientInfo::of(&request);
        let v1::GetConfigRequest { service, must_exist } = request.into_inner();
        convert::check_service_filter(&service).map_err(Failure::from)?;
        // Every client may read the defaults.
        if !service.is_empty() {
            client.check(Right::Read, &service)?;
        }
        let loaded = self.loaded()?;
        if must_exist && !service.is_empty() && !loaded.control.knows_service(&service) {
            let unknown = Failure::NotFound(UnknownName::service(service));
            return Err(suggestion::suggest(unknown, &self.app, loaded, &client).await.into());
        }
        let config = loaded.control.configuration().service(&service);
        Ok(Response::new(v1::GetConfigResponse {
            config: Some(convert::config(&config, self.app.clock.wall())),
        }))
    }

    async fn list_configs(
        &self,
        request: Request<v1::ListConfigsRequest>,
    ) -> Result<Response<v1::ListConfigsResponse>, Status> {
        let client = ClientInfo::of(&request);
        let list = ConfigList::try_from(request.into_inner()).map_err(Failure::from)?;
        let configuration = self.loaded()?.control.configuration();
        let now = self.app.clock.wall();
        let overridden =
            |service: &str| configuration.overrides().get(service).is_some_and(|set| !set.has_ended(now));
        let mut names: Vec<&str> = configuration
            .services()
            .filter(|service| list.has(service) && client.may(Right::Read, service))
            .filter(|service| !list.overridden || overridden(service))
            .take(list.size + 1)
            .collect();
        let more = names.len() > list.size;
        names.truncate(list.size);
        let next_page_token =
            names.last().filter(|_| more).map(|last| list.token_after(last)).unwrap_or_default();
        let configs = names.into_iter().map(|service| convert::config(&configuration.service(service), now));
        Ok(Response::new(v1::ListConfigsResponse { configs: configs.collect(), next_page_token }))
    }

    async fn update_config(
        &self,
        request: Request<v1::UpdateConfigRequest>,
    ) -> Result<Response<v1::UpdateConfigResponse>, Status> {
        let client = ClientInfo::of(&request);
        let timeout = deadline::for_store(request.metadata());
        let update = convert::update(request.into_inner(), client.actor()).map_err(Failure::from)?;
        client.check(Right::Configure, &update.service)?;
        let updated = deadline::within(timeout, Effect::Write, self.update(update)).await;
        let updated = match (updated, self.app.loaded()) {
            (Err(failure), Some(loaded)) => {
                Err(suggestion::suggest(failure, &self.app, loaded, &client).await)
            }
            (updated, _) => updated,
        };
        let Updated { config, changed } = updated?;
        Ok(Response::new(v1::UpdateConfigResponse {
            config: Some(convert::config(&config, self.app.clock.wall())),
            changed,
        }))
    }

    async fn delete_config(
        &self,
        request: Request<v1::DeleteConfigRequest>,
    ) -> Result<Response<v1::DeleteConfigResponse>, Status> {
        let client = ClientInfo::of(&request);
        let timeout = deadline::for_store(request.metadata());
        let update = convert::deletion(request.into_inner(), client.actor()).map_err(Failure::from)?;
        client.check(Right::Configure, &update.service)?;
        let updated = deadline::within(timeout, Effect::Write, self.update(update)).await;
        let Updated { config, changed } = updated?;
        Ok(Response::new(v1::DeleteConfigResponse {
            config: Some(convert::config(&config, self.app.clock.wall())),
            changed,
        }))
    }

    async fn list_config_changes(
        &self,
        request: Request<v1::ListConfigChangesRequest>,
    ) -> Result<Response<v1::ListConfigChangesResponse>, Status> {
        let client = ClientInfo::of(&request);
        let timeout = deadline::for_store(request.metadata());
        let list = ChangeList::try_from(request.into_inner()).map_err(Failure::from)?;
        if let Some(service) = &list.query.service {
            client.check(Right::Read, service)?;
        }
        let loaded = self.loaded()?;
        let began = self.app.clock.now();
        // Waiting for a slot is no store timeout.
        let _read = self.reads.admit(&client).await?;
        let timeout = deadline::remaining(timeout, self.app.clock.now().since(began));
        let read = async {
            let read = loaded.store.changes(&list.query).await;
            read.map_err(|error| convert::store_failure("audit read failed", &error))
        };
        let mut rows = deadline::within(timeout, Effect::Read, read).await?;
        let more = rows.len() > list.size;
        rows.truncate(list.size);
        let end = rows.last().filter(|_| more);
        let next_page_token = end.map(|end| list.token_after(end.cursor)).unwrap_or_default();
        // A page may hold fewer, even none: a client that may see few services fetches the next one. What the file
        // declares names every service, and is for those who may see them all.
        rows.retain(|row| match &*row.service {
            "" => client.may_for_every_service(Right::Read),
            service => client.may(Right::Read, service),
        });
        let changes = rows.into_iter().map(convert::change).collect();
        Ok(Response::new(v1::ListConfigChangesResponse { changes, next_page_token }))
    }

    type WatchConfigStream = Watch<v1::WatchConfigResponse>;

    async fn watch_config(
        &self,
        request: Request<v1::WatchConfigRequest>,
    ) -> Result<Response<Self::WatchConfigStream>, Status> {
        Ok(Response::new(watch::config(&self.watches, &self.app, self.loaded()?, request)?))
    }
}

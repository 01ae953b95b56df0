//! `OperationsService`: shows breakers and their history, and takes operator actions (`operator_actions`).

mod operator_actions;

use std::error::Error;
use std::sync::Arc;

use breakerd_api::v1::operations_service_server::OperationsService;
use breakerd_api::v1::{
    ClearOverrideRequest, ClearOverrideResponse, DeleteBreakerRequest, DeleteBreakerResponse,
    GetBreakerRequest, GetBreakerResponse, ListBreakersRequest, ListBreakersResponse, ListPermitKeysRequest,
    ListPermitKeysResponse, ListReplicasRequest, ListReplicasResponse, ListTransitionsRequest,
    ListTransitionsResponse, ProbeBreakerRequest, ProbeBreakerResponse, ResetBreakerRequest,
    ResetBreakerResponse, RotatePermitKeyRequest, RotatePermitKeyResponse, SetOverrideRequest,
    SetOverrideResponse,
};
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};

use super::client_info::ClientInfo;
use super::convert::{self, BreakerList, TransitionList};
use super::deadline::{self, Effect};
use super::history_reads::HistoryReads;
use super::status::Failure;
use super::suggestion;
use super::unknown_name::UnknownName;
use super::watch::{self, Watch, Watches};
use crate::app::{App, Loaded};
use crate::auth::{Right, Rights};
use crate::permit_keys::Rotated;
use crate::roster::Roster;
use crate::store::{HistoryCursor, StoreError, StoredTransition, TransitionStore};

/// Lists of breakers that are drawn up at one time: one that few breakers pass looks at many, and decisions must not
/// wait for the cores. Further ones wait their turn, until their deadline.
const LISTS_AT_ONCE: usize = 2;

/// The most pages of the store that are read for one page of a client that may not see every service.
const READS_MAX: usize = 10;

/// The service on an app.
pub(super) struct Operations {
    app: Arc<App>,
    lists: Semaphore,
    watches: Watches,
    reads: HistoryReads,
}

impl Operations {
    pub(super) fn new(app: Arc<App>, watches: Watches, reads: HistoryReads) -> Self {
        Self { app, lists: Semaphore::new(LISTS_AT_ONCE), watches, reads }
    }

    fn loaded(&self) -> Result<&Loaded, Failure> {
        self.app.loaded().ok_or_else(|| Failure::not_loaded(&self.app))
    }

    /// The response to `client`; where it named something unknown, with the nearest known name.
    async fn answer<T>(&self, done: Result<T, Failure>, client: &ClientInfo) -> Result<Response<T>, Status> {
        match (done, self.app.loaded()) {
            (Ok(answer), _) => Ok(Response::new(answer)),
            (Err(failure), Some(loaded)) => {
                Err(suggestion::suggest(failure, &self.app, loaded, client).await.into())
            }
            (Err(failure), None) => Err(failure.into()),
        }
    }
}

#[tonic::async_trait]
impl OperationsService for Operations {
    async fn list_breakers(
        &self,
        request: Request<ListBreakersRequest>,
    ) -> Result<Response<ListBreakersResponse>, Status> {
        let loaded = self.loaded()?;
        let client = ClientInfo::of(&request);
        let list = BreakerList::try_from(request.into_inner()).map_err(Failure::from)?;
        check_filter(&client, list.wanted.service())?;
        let _turn = self.lists.acquire().await.map_err(|_| Failure::ShuttingDown)?;
        let now = self.app.clock.now();
        let engine = Arc::clone(&loaded.engine);
        // Off the threads that decide: a thousand breakers are locked, one after the other.
        let listed = tokio::task::spawn_blocking(move || {
            let views = engine.list(&list.query(), now, |service| client.may(Right::Read, service));
            (list, views)
        });
        let (list, mut views) = listed.await.map_err(|error| broken(&error))?;
        let more = views.len() > list.size;
        views.truncate(list.size);
        let end = views.last().filter(|_| more);
        let next_page_token = end.map(|end| list.token_after(&end.key)).unwrap_or_default();
        let wall = loaded.engine.wall(now);
        let breakers = views.iter().map(|view| convert::breaker(view, wall)).collect();
        Ok(Response::new(ListBreakersResponse { breakers, next_page_token }))
    }

    async fn get_breaker(
        &self,
        request: Request<GetBreakerRequest>,
    ) -> Result<Response<GetBreakerResponse>, Status> {
        let loaded = self.loaded()?;
        let client = ClientInfo::of(&request);
        let request = request.get_ref();
        let key = convert::key(&request.service, &request.name).map_err(Failure::from)?;
        client.check(Right::Read, key.service())?;
        let now = self.app.clock.now();
        let view = loaded.engine.view(key.service(), key.name(), now);
        let Some(view) = view.or_else(|| loaded.engine.view_inherited(key.service(), key.name(), now)) else {
            let unknown = Failure::NotFound(UnknownName::breaker(&key));
            return Err(suggestion::suggest(unknown, &self.app, loaded, &client).await.into());
        };
        Ok(Response::new(GetBreakerResponse {
            breaker: Some(convert::breaker(&view, loaded.engine.wall(now))),
        }))
    }

    async fn list_replicas(
        &self,
        _: Request<ListReplicasRequest>,
    ) -> Result<Response<ListReplicasResponse>, Status> {
        let roster = Roster::read(&self.app, self.loaded()?).await;
        Ok(Response::new(convert::replicas(&roster, self.app.clock.wall())))
    }

    async fn list_permit_keys(
        &self,
        request: Request<ListPermitKeysRequest>,
    ) -> Result<Response<ListPermitKeysResponse>, Status> {
        let timeout = deadline::for_store(request.metadata());
        let keys = self.loaded()?.permit_keys.read();
        let read =
            async { keys.await.map_err(|error| convert::store_failure("permit key read failed", &error)) };
        let keys = deadline::within(timeout, Effect::Read, read).await?;
        Ok(Response::new(convert::permit_keys(&keys, self.app.clock.wall())))
    }

    async fn rotate_permit_key(
        &self,
        request: Request<RotatePermitKeyRequest>,
    ) -> Result<Response<RotatePermitKeyResponse>, Status> {
        let client = ClientInfo::of(&request);
        let timeout = deadline::for_store(request.metadata());
        let attribution = convert::rotation(request.into_inner(), client.actor()).map_err(Failure::from)?;
        if !client.may_for_every_service(Right::Configure) {
            return Err(client.denied(Rights::of(&[Right::Configure]), "").into());
        }
        let rotating = self.loaded()?.permit_keys.rotate(&attribution);
        let rotate = async { rotating.await.map_err(convert::rotate_failure) };
        let Rotated { number, is_new, seals } = deadline::within(timeout, Effect::Write, rotate).await?;
        Ok(Response::new(RotatePermitKeyResponse { number, changed: is_new, sealing: seals }))
    }

    async fn set_override(
        &self,
        request: Request<SetOverrideRequest>,
    ) -> Result<Response<SetOverrideResponse>, Status> {
        let client = ClientInfo::of(&request);
        self.answer(self.set(request).await, &client).await
    }

    async fn clear_override(
        &self,
        request: Request<ClearOverrideRequest>,
    ) -> Result<Response<ClearOverrideResponse>, Status> {
        let client = ClientInfo::of(&request);
        self.answer(self.clear(request).await, &client).await
    }

    async fn reset_breaker(
        &self,
        request: Request<ResetBreakerRequest>,
    ) -> Result<Response<ResetBreakerResponse>, Status> {
        let client = ClientInfo::of(&request);
        self.answer(self.reset(request).await, &client).await
    }

    async fn delete_breaker(
        &self,
        request: Request<DeleteBreakerRequest>,
    ) -> Result<Response<DeleteBreakerResponse>, Status> {
        let client = ClientInfo::of(&request);
        self.answer(self.delete(request).await, &client).await
    }

    async fn probe_breaker(
        &self,
        request: Request<ProbeBreakerRequest>,
    ) -> Result<Response<ProbeBreakerResponse>, Status> {
        let client = ClientInfo::of(&request);
        self.answer(self.probe(request).await, &client).await
    }

    type WatchTransitionsStream = Watch<breakerd_api::v1::WatchTransitionsResponse>;

    async fn watch_transitions(
        &self,
        request: Request<breakerd_api::v1::WatchTransitionsRequest>,
    ) -> Result<Response<Self::WatchTransitionsStream>, Status> {
        Ok(Response::new(watch::transitions(&self.watches, self.loaded()?, request)?))
    }

    async fn list_transitions(
        &self,
        request: Request<ListTransitionsRequest>,
    ) -> Result<Response<ListTransitionsResponse>, Status> {
        let loaded = self.loaded()?;
        let client = ClientInfo::of(&request);
        let timeout = deadline::for_store(request.metadata());
        let list = TransitionList::try_from(request.into_inner()).map_err(Failure::from)?;
        check_filter(&client, list.query.service.as_deref().unwrap_or_default())?;
        let began = self.app.clock.now();
        // Waiting for a slot is no store timeout.
        let _read = self.reads.admit(&client).await?;
        let timeout = deadline::remaining(timeout, self.app.clock.now().since(began));
        let read = async {
            let read = visible(&*loaded.store, &list, &client).await;
            read.map_err(|error| convert::store_failure("history read failed", &error))
        };
        let (rows, end) = deadline::within(timeout, Effect::Read, read).await?;
        let next_page_token = end.map(|end| list.token_after(end)).unwrap_or_default();
        let transitions = rows.iter().map(convert::transition).collect();
        Ok(Response::new(ListTransitionsResponse { transitions, next_page_token }))
    }
}

/// A list of one service requires the right to read it. One without that filter shows what the client may see.
fn check_filter(client: &ClientInfo, service: &str) -> Result<(), Failure> {
    if service.is_empty() { Ok(()) } else { client.check(Right::Read, service) }
}

/// The rows of a page that `client` may see, and, if there are more, where the next page begins.
///
/// A client that may see few services would get mostly empty pages: so it reads on, and
/// answers with a page that is not full, or empty, only after so many reads.
async fn visible(
    store: &dyn TransitionStore,
    list: &TransitionList,
    client: &ClientInfo,
) -> Result<(Vec<StoredTransition>, Option<HistoryCursor>), StoreError> {
    let (mut query, mut found) = (list.query.clone(), Vec::new());
    let reads_max = if client.may_for_every_service(Right::Read) { 1 } else { READS_MAX };
    for _ in 0..reads_max {
        let mut rows = store.transitions(&query).await?;
        let more = rows.len() > list.size;
        rows.truncate(list.size);
        for row in rows {
            if found.len() == list.size {
                return Ok((found, query.after));
            }
            query.after = Some(row.cursor);
            if client.may(Right::Read, row.key.service()) {
                found.push(row);
            }
        }
        if !more {
            return Ok((found, None));
        }
        if found.len() == list.size {
            break;
        }
    }
    Ok((found, query.after))
}

#[cold]
fn broken(error: &(dyn Error + 'static)) -> Failure {
    tracing::error!(error, "OperationsService call failed");
    Failure::Internal
}

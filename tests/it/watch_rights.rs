//! What a watch tells those who may see some services only.

use breakerd::auth::{Principals, Role};
use breakerd::grpc::Limits;
use breakerd_api::v1;
use breakerd_api::v1::watch_breakers_response::Event as Told;
use breakerd_api::v1::watch_transitions_response::Event;
use breakerd_api::v1::{WatchBreakersRequest, WatchConfigRequest, WatchTransitionsRequest};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::auth::{Holder, add, security};
use crate::grpc_world::World;
use crate::{watch_breakers, watch_config, watch_transitions};

/// A world behind authentication, and who comes to it.
struct Server {
    world: World,
    admin: Holder,
    /// Reads `team-a.*`.
    reader: Holder,
    /// Asks about calls of `team-a.*`.
    caller: Holder,
    /// Reads what there is not.
    stranger: Holder,
}

impl Server {
    async fn new() -> Self {
        let mut principals = Principals::default();
        let admin = add(&mut principals, "admin", &[Role::Admin], &[]);
        let reader = add(&mut principals, "reader", &[Role::Reader], &["team-a.*"]);
        let caller = add(&mut principals, "caller", &[Role::Caller], &["team-a.*"]);
        let stranger = add(&mut principals, "stranger", &[Role::Reader], &["elsewhere"]);
        let world = World::with_security(security(principals), Limits::default()).await;
        Self { world, admin, reader, caller, stranger }
    }

    /// Sets a threshold of `service`.
    async fn set(&self, service: &str, threshold: u32) {
        let thresholds = v1::Thresholds { failure_threshold: Some(threshold), ..v1::Thresholds::default() };
        let request = v1::UpdateConfigRequest {
            service: service.into(),
            thresholds: Some(thresholds),
            ..v1::UpdateConfigRequest::default()
        };
        self.world.configs().await.update_config(self.admin.shows(request)).await.unwrap();
    }

    /// Fails the breaker `name` of both teams until it is open, `team-b`'s first, and tells whoever follows the store.
    async fn trip(&self, name: &str) {
        let mut breakers = self.world.breakers().await;
        for service in ["team-b.x", "team-a.x"] {
            for _ in 0..5 {
                let failure = v1::RecordOutcomeRequest {
                    service: service.into(),
                    name: name.into(),
                    outcome: v1::Outcome::Failure as i32,
                    ..v1::RecordOutcomeRequest::default()
                };
                breakers.record_outcome(self.admin.shows(failure)).await.unwrap();
            }
        }
        self.world.write_behind().await;
        watch_transitions::look(&self.world).await;
    }
}

/// That `status` denies `service`.
fn is_denied(status: &Status, service: &str) {
    assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
    let info = status.get_details_error_info().unwrap();
    assert_eq!((&*info.reason, &*info.metadata["service"]), ("PERMISSION_DENIED", service));
}

/// What may be asked for, and what of it is denied.
fn named() -> [(Vec<String>, Option<&'static str>); 3] {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    [
        (names(&["team-a.x"]), None),
        (names(&["team-b.x"]), Some("team-b.x")),
        (names(&["team-a.x", "team-c.is-not-there"]), Some("team-c.is-not-there")),
    ]
}

#[tokio::test]
async fn a_watch_of_the_configuration_tells_of_services_that_one_may_see_and_denies_others() {
    let server = Server::new().await;
    server.set("team-b.x", 8).await;
    server.set("team-a.x", 9).await;
    let mut client = server.world.configs().await;
    let watch =
        async |client: &mut v1::config_service_client::ConfigServiceClient<_>, request, who: &Holder| {
            client.watch_config(who.shows(request)).await.map(tonic::Response::into_inner)
        };
    let everything = WatchConfigRequest::default;
    let mut all = watch(&mut client, everything(), &server.admin).await.unwrap();
    let (told, token) = watch_config::snapshot(&mut all).await;
    assert_eq!(told, ["defaults=5", "sentinel=3", "team-a.x=9", "team-b.x=8", "bookmark 3"]);
    // The defaults are everybody's.
    let mut some = watch(&mut client, everything(), &server.reader).await.unwrap();
    assert_eq!(watch_config::snapshot(&mut some).await.0, ["defaults=5", "team-a.x=9", "bookmark 3"]);
    let mut none = watch(&mut client, everything(), &server.stranger).await.unwrap();
    assert_eq!(watch_config::snapshot(&mut none).await.0, ["defaults=5", "bookmark 3"]);
    let prefix = WatchConfigRequest { service_prefix: "team-".into(), ..everything() };
    let mut team = watch(&mut client, prefix, &server.reader).await.unwrap();
    assert_eq!(watch_config::snapshot(&mut team).await.0, ["team-a.x=9", "bookmark 3"]);

    server.set("team-b.x", 1).await;
    server.set("team-a.x", 2).await;
    // A token says where, not what: who shows another's sees no more than before.
    let resume = WatchConfigRequest { resume_token: token, ..everything() };
    let mut resumed = watch(&mut client, resume, &server.reader).await.unwrap();
    for stream in [&mut some, &mut team, &mut resumed] {
        assert_eq!(watch_config::told(&watch_config::news(stream).await.0), "team-a.x=2");
    }
    for (services, denied) in named() {
        let request = WatchConfigRequest { services, ..everything() };
        match (watch(&mut client, request, &server.reader).await, denied) {
            (Ok(mut stream), None) => {
                assert_eq!(watch_config::snapshot(&mut stream).await.0, ["team-a.x=2", "bookmark 5"]);
            }
            (Err(status), Some(service)) => is_denied(&status, service),
            (answer, _) => panic!("{denied:?}: {answer:?}"),
        }
    }
    drop((all, some, none, team, resumed));
    server.world.end().await;
}

#[tokio::test]
async fn a_watch_of_breakers_tells_of_services_that_one_may_see_and_denies_others() {
    let server = Server::new().await;
    server.trip("old").await;
    let mut client = server.world.breakers().await;
    let watch =
        async |client: &mut v1::breaker_service_client::BreakerServiceClient<_>, request, who: &Holder| {
            client.watch_breakers(who.shows(request)).await.map(tonic::Response::into_inner)
        };
    let everything = WatchBreakersRequest::default;
    let mut streams = Vec::new();
    // A caller decides by itself; it sees what it may ask about.
    for (who, seen) in [
        (&server.reader, &["old"][..]),
        (&server.caller, &["old"]),
        (&server.stranger, &[]),
        (&server.admin, &["old", "old"]),
    ] {
        let mut stream = watch(&mut client, everything(), who).await.unwrap();
        assert_eq!(watch_breakers::snapshot(&mut stream).await, seen);
        streams.push(stream);
    }
    server.trip("new").await;
    let prefix = WatchBreakersRequest { service_prefix: "team-".into(), ..everything() };
    let mut team = watch(&mut client, prefix, &server.reader).await.unwrap();
    for stream in &mut streams[..2] {
        let told = watch_breakers::news(stream).await;
        assert!(
            matches!(&told, Told::Breaker(it) if it.service == "team-a.x" && it.name == "new"),
            "{told:?}"
        );
    }
    assert_eq!(watch_breakers::snapshot(&mut team).await, ["new", "old"]);
    for who in [&server.reader, &server.caller] {
        for (services, denied) in named() {
            let request = WatchBreakersRequest { services, ..everything() };
            match (watch(&mut client, request, who).await, denied) {
                (Ok(mut stream), None) => {
                    assert_eq!(watch_breakers::snapshot(&mut stream).await, ["new", "old"]);
                }
                (Err(status), Some(service)) => is_denied(&status, service),
                (answer, _) => panic!("{denied:?}: {answer:?}"),
            }
        }
    }
    drop((streams, team));
    server.world.end().await;
}

#[tokio::test]
async fn a_watch_of_the_history_tells_of_services_that_one_may_see_and_denies_others() {
    let server = Server::new().await;
    server.trip("old").await;
    let mut client = server.world.operations().await;
    let watch = async |client: &mut v1::operations_service_client::OperationsServiceClient<_>,
                       request,
                       who: &Holder| {
        client.watch_transitions(who.shows(request)).await.map(tonic::Response::into_inner)
    };
    let everything = WatchTransitionsRequest::default;
    let mut all = watch(&mut client, everything(), &server.admin).await.unwrap();
    let (told, _, token) = watch_transitions::snapshot(&mut all).await;
    assert_eq!(told.len(), 2);
    let mut some = watch(&mut client, everything(), &server.reader).await.unwrap();
    let (told, _, _) = watch_transitions::snapshot(&mut some).await;
    assert_eq!(told.iter().map(|state| &*state.service).collect::<Vec<_>>(), ["team-a.x"]);
    let mut none = watch(&mut client, everything(), &server.stranger).await.unwrap();
    assert_eq!(watch_transitions::snapshot(&mut none).await.0, []);

    server.trip("new").await;
    let resume = WatchTransitionsRequest { resume_token: token, ..everything() };
    let mut resumed = watch(&mut client, resume, &server.reader).await.unwrap();
    for stream in [&mut some, &mut resumed] {
        let told = watch_transitions::news(stream).await;
        assert!(
            matches!(&told, Event::Transition(it) if it.service == "team-a.x" && it.name == "new"),
            "{told:?}"
        );
    }
    for (services, denied) in named() {
        let request = WatchTransitionsRequest { services, ..everything() };
        match (watch(&mut client, request, &server.reader).await, denied) {
            (Ok(mut stream), None) => {
                assert_eq!(watch_transitions::snapshot(&mut stream).await.0.len(), 2);
            }
            (Err(status), Some(service)) => is_denied(&status, service),
            (answer, _) => panic!("{denied:?}: {answer:?}"),
        }
    }
    let status = watch(&mut client, everything(), &server.caller).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied, "a caller reads no history");
    drop((all, some, none, resumed));
    server.world.end().await;
}

//! Names that breakerd does not know, on the command line: an exit code of 4, and a name that leads somewhere.

use crate::ctl::Desk;

#[tokio::test]
async fn a_mistyped_service_ends_every_command_that_names_one_with_4() {
    let desk = Desk::open().await;
    for command in [
        &["ls"][..],
        &["get"],
        &["history"],
        &["history", "--service-wide"],
        &["history", "--json"],
        &["watch"],
        &["watch", "--states"],
        &["config", "get"],
        &["config", "log"],
        &["config", "watch"],
        &["config", "unset"],
        &["override", "clear", "--service-wide"],
        &["reset"],
        &["forget"],
    ] {
        let said = desk.ask(&[command, &["searches"]].concat()).await;
        assert_eq!((said.code, &*said.out), (4, ""), "{command:?}: {said:?}");
        assert!(said.err.contains("did you mean search?"), "{command:?}: {said:?}");
        assert!(!said.err.contains("--create"), "it has none: {command:?}: {said:?}");
    }
    let watch = desk.ask(&["watch", "nosuch"]).await;
    assert!(watch.err.contains("to wait for its first use, use --prefix nosuch"), "{watch:?}");
    // One that is known and has no configuration of its own.
    desk.ask(&["allow", "orders"]).await.well();
    let known = desk.ask(&["config", "get", "orders"]).await;
    assert!(known.code == 0 && known.err.contains("showing the defaults"), "{known:?}");
    let quiet = desk.ask(&["config", "log", "orders"]).await;
    assert_eq!(quiet.code, 0, "{quiet:?}");
}

#[tokio::test]
async fn a_service_that_has_only_named_breakers_is_answered_with_these() {
    let desk = Desk::open().await;
    for breaker in ["mail/slack", "mail/email"] {
        desk.ask(&["allow", breaker]).await.well();
    }
    for command in ["get", "history", "reset"] {
        let said = desk.ask(&[command, "mail"]).await;
        let told = "breaker mail not found: breakers are created on first use; the service has mail/email, mail/slack";
        assert!(said.code == 4 && said.err.contains(told), "{command}: {said:?}");
    }
}

#[tokio::test]
async fn a_breaker_that_is_suggested_is_there() {
    let desk = Desk::open().await;
    desk.ask(&["allow", "mail/email"]).await.well();
    for (typo, meant) in [
        ("mails", "mail/email"),
        ("mails/email", "mail/email"),
        ("mail/emial", "mail/email"),
        ("searches", "search"),
        ("searches/nosuch", "search"),
    ] {
        let said = desk.ask(&["get", typo]).await;
        assert!(said.code == 4 && said.err.contains(&format!("did you mean {meant}?")), "{typo}: {said:?}");
        assert_eq!(desk.ask(&["get", meant]).await.code, 0, "{meant}");
    }
    let service = desk.ask(&["ls", "mails"]).await;
    assert!(service.err.contains("did you mean mail?"), "ls takes a service: {service:?}");
}

//! Service-wide overrides on the command line: they are in force, and seen, also while no breaker of the service is in use.

use crate::ctl::Desk;

const SET: [&str; 8] =
    ["override", "set", "orders", "disabled", "--service-wide", "--create", "--reason", "false alarms"];

#[tokio::test]
async fn a_service_wide_override_is_seen_wherever_an_operator_looks() {
    let desk = Desk::open().await;
    desk.ask(&SET).await.well();

    let rows = desk.ask(&["ls"]).await.lines();
    let row = |rows: &[String]| rows.iter().find(|row| row.starts_with("orders ")).cloned();
    let told = row(&rows).expect("orders is listed");
    assert!(told.starts_with("orders (all) DISABLED "), "{told}");
    assert!(told.contains("service-wide override, ") && told.ends_with(": false alarms"), "{told}");
    assert_eq!(desk.ask(&["ls", "orders"]).await.lines().len(), 2);
    assert_eq!(row(&desk.ask(&["ls", "--state", "disabled"]).await.lines()).map(|_| ()), Some(()));
    let others = desk.ask(&["ls", "--state", "forced-open"]).await;
    assert_eq!((others.code, &*others.out), (0, ""), "it is in another state: {others:?}");
    let json = desk.ask(&["ls", "orders", "--json"]).await;
    assert_eq!((json.code, &*json.out), (0, ""), "{json:?}");
    assert!(json.err.contains("service-wide override of orders: DISABLED, "), "{json:?}");

    let shown = desk.ask(&["get", "orders"]).await.lines();
    assert!(shown.contains(&"state DISABLED".to_owned()), "{shown:?}");
    assert!(shown.iter().any(|line| line.starts_with("why service-wide override, ")), "{shown:?}");

    let history = desk.ask(&["history", "orders"]).await.lines();
    assert_eq!(history.len(), 2, "{history:?}");
    assert!(history[1].contains(" orders (all) - DISABLED service-wide override set, "), "{history:?}");

    // What cannot be done says the same.
    for act in [&["override", "clear"][..], &["reset"], &["forget"], &["probe"]] {
        let said = desk.ask(&[act, &["orders"]].concat()).await;
        assert!(said.code == 1 && said.err.contains("breaker orders is DISABLED"), "{act:?}: {said:?}");
    }

    desk.ask(&["override", "clear", "orders", "--service-wide", "--reason", "over"]).await.well();
    assert_eq!(row(&desk.ask(&["ls"]).await.lines()), None);
    let history = desk.ask(&["history", "orders"]).await.lines();
    assert!(history[1].contains(" orders (all) DISABLED - service-wide override cleared, "), "{history:?}");
    let limited = desk.ask(&["history", "orders", "--limit", "1", "--oldest-first"]).await;
    assert!(limited.err.contains("increase --limit"), "{limited:?}");
    let limited = limited.lines();
    assert!(limited.len() == 2 && limited[1].contains(" - DISABLED "), "the oldest: {limited:?}");
    let limited = desk.ask(&["history", "orders", "--limit", "1"]).await;
    assert!(limited.err.contains("increase --limit"), "{limited:?}");
    let of_state = desk.ask(&["history", "orders", "--limit", "1", "--state", "disabled"]).await.lines();
    assert!(of_state.len() == 2 && of_state[1].contains(" - DISABLED "), "behind the newest: {of_state:?}");
}

#[tokio::test]
async fn overrides_of_a_service_stand_between_its_transitions_where_they_were_set() {
    let desk = Desk::open().await;
    desk.open_breaker("search", 1).await;
    desk.ask(&["override", "set", "search", "disabled", "--service-wide", "--reason", "r"]).await.well();
    desk.ask(&["override", "clear", "search", "--service-wide"]).await.well();
    desk.open_breaker("search", 1).await;
    let states = |lines: Vec<String>| {
        let field = |line: &str| line.split(' ').skip(2).take(4).collect::<Vec<_>>().join(" ");
        lines[1..].iter().map(|line| field(line)).collect::<Vec<_>>()
    };
    let mut newest = states(desk.ask(&["history", "search"]).await.lines());
    let told = [
        "search CLOSED OPEN 1",
        "search DISABLED CLOSED override",
        "search (all) DISABLED -",
        "search OPEN DISABLED override",
        "search (all) - DISABLED",
        "search CLOSED OPEN 1",
    ];
    assert_eq!(newest, told);
    let oldest = states(desk.ask(&["history", "search", "--oldest-first"]).await.lines());
    newest.reverse();
    assert_eq!(oldest, newest);
    let open = desk.ask(&["history", "search", "--state", "open"]).await.lines();
    assert_eq!(open.len(), 3, "{open:?}");
}

#[tokio::test]
async fn breakers_that_keep_their_own_override_are_named_when_their_service_gets_one() {
    let desk = Desk::open().await;
    for breaker in ["search", "search/eu", "search/us"] {
        desk.ask(&["allow", breaker]).await.well();
    }
    let own = ["override", "set", "search/eu", "forced-open", "--reason", "eu is down"];
    desk.ask(&own).await.well();
    let whole = ["override", "set", "search", "disabled", "--service-wide", "--reason", "r"];
    let said = desk.ask(&whole).await.well();
    let told = "search is now DISABLED service-wide, including future breakers; 2 breakers changed\n\
                1 breaker keeps its own override: search/eu\n";
    assert_eq!(said, told);
    let json = desk.ask(&[&whole[..], &["--json"]].concat()).await.json();
    assert_eq!((&json["ownOverrides"], &json["ownOverrideNames"]), (&1.into(), &serde_json::json!(["eu"])));
    let shown = desk.ask(&["get", "search/eu"]).await.lines();
    assert!(shown.contains(&"state FORCED_OPEN".to_owned()), "{shown:?}");
    let both = |line: &String| {
        line.starts_with("service-wide DISABLED, ") && line.ends_with("(after its own override)")
    };
    assert!(shown.iter().any(both), "{shown:?}");

    for number in 0..11 {
        let breaker = format!("search/{number:02}");
        desk.ask(&["override", "set", &breaker, "disabled", "--reason", "r", "--create"]).await.well();
    }
    let said = desk.ask(&["override", "clear", "search", "--service-wide"]).await.well();
    let (_, kept) = said.split_once('\n').unwrap();
    assert!(kept.starts_with("12 breakers keep their own override: search/00, search/01, "), "{said}");
    assert!(kept.ends_with("search/09, 2 more\n"), "{said}");
}

#[tokio::test]
async fn a_service_without_an_override_is_named_when_it_is_to_be_cleared() {
    let desk = Desk::open().await;
    let said = desk.ask(&["override", "clear", "nosuch", "--service-wide"]).await;
    assert!(said.code == 4 && said.err.contains("service nosuch not found"), "{said:?}");
    let said = desk.ask(&["override", "clear", "searches", "--service-wide"]).await;
    assert!(said.code == 4 && said.err.contains("did you mean search?"), "{said:?}");
    let said = desk.ask(&["override", "clear", "search", "--service-wide"]).await;
    assert!(said.code == 1 && said.err.contains("service search has no service-wide override"), "{said:?}");
}

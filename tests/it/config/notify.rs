//! `[[notify]]` in the file.

use std::path::PathBuf;
use std::time::Duration;

use breaker::State;
use breakerd::auth::Pattern;
use breakerd::webhook::{Filter, Format, TargetSettings, UrlSource};

use super::parse;

fn targets(text: &str) -> Vec<TargetSettings> {
    parse(text).unwrap_or_else(|errors| panic!("{errors:?}")).settings.notify
}

#[test]
fn a_target_is_read_with_what_applies_without() {
    let [target] = &targets("[[notify]]\nname = \"chat\"\nurl_file = \"/run/url\"\n")[..] else {
        panic!("not one")
    };
    let plain = TargetSettings {
        name: "chat".to_owned(),
        url: UrlSource::File("/run/url".into()),
        format: Format::Json,
        filter: Filter::default(),
        secret_file: None,
        ca_file: None,
        timeout: Duration::from_secs(10),
        give_up_after: Duration::from_hours(1),
        queue_max: 1_000,
    };
    assert_eq!(*target, plain);
    let text = "[[notify]]\nname = \"chat\"\nurl_file = \"/run/url\"\nformat = \"slack\"\nservices = [\"pay*\"]\n\
                names = [\"eu/*\"]\nstates = [\"OPEN\", \"CLOSED\"]\nreopened = false\nsecret_file = \"s\"\nca_file = \"c\"\n\
                timeout = 0.5\ngive_up_after = \"10m\"\nqueue_max = 7\n[[notify]]\nname = \"other\"\nurl = \"http://a/b\"\n";
    let [target, other] = &targets(text)[..] else { panic!("not two") };
    let path = |text: &str| Some(PathBuf::from(text));
    assert_eq!(
        *target,
        TargetSettings {
            format: Format::Slack,
            filter: Filter {
                services: vec![Pattern::new("pay*").unwrap()],
                names: vec![Pattern::of_names("eu/*").unwrap()],
                states: vec![State::Open, State::Closed],
                without_reopened: true,
            },
            secret_file: path("s"),
            ca_file: path("c"),
            timeout: Duration::from_millis(500),
            give_up_after: Duration::from_mins(10),
            queue_max: 7,
            ..plain
        }
    );
    assert_eq!((&*other.name, format!("{:?}", other.url)), ("other", "Given(http://a/...)".to_owned()));
}

#[test]
fn what_is_wrong_is_named_with_its_place_and_range_and_no_url_is_shown() {
    let head = "[[notify]]\nname = \"chat\"\nurl = \"https://hooks.example/hunter2\"\n";
    for (text, problem) in [
        ("[notify]\nname = \"a\"\n", "write [[notify]] on a line of its own"),
        (
            "notify = \"https://a/hunter2\"\n",
            "notify: invalid value a value of another kind: must be a list of tables",
        ),
        ("notify = [\"https://a/hunter2\"]\n", "must be a table"),
        ("[[notify]]\nurl = \"http://a\"\n", "notify: `name` is missing"),
        (
            "[[notify]]\nname = \"a b\"\nurl = \"http://a\"\n",
            "notify.name: invalid value \"a b\": must be 1 to 64 letters",
        ),
        ("[[notify]]\nname = \"a\"\n", "notify: `url` or `url_file` is missing"),
        (
            "[[notify]]\nname = \"a\"\nurl = \"ftp://a/hunter2\"\n",
            "notify.url: invalid value (not shown): must be a URL https://",
        ),
        ("[[notify]]\nname = \"a\"\nurl = \"hunter2\"\n", "notify.url: invalid value (not shown)"),
        ("[[notify]]\nname = \"a\"\nurl = 7\n", "notify.url: invalid value (not shown)"),
        (&format!("{head}url_file = \"x\"\n"), "`url` and `url_file` are both set"),
        (&format!("{head}frmat = \"json\"\n"), "notify: unknown key `frmat`: did you mean `format`?"),
        (&format!("{head}format = \"xml\"\n"), "notify.format: invalid value \"xml\": must be json or slack"),
        (
            &format!("{head}states = [\"BROKEN\"]\n"),
            "notify.states: invalid value [\"BROKEN\"]: must be a list of CLOSED, ",
        ),
        (&format!("{head}states = []\n"), "notify.states: invalid value []"),
        (&format!("{head}services = [\"a/b\"]\n"), "notify.services: invalid value"),
        (
            &format!("{head}names = \"a\"\n"),
            "notify.names: invalid value \"a\": must be a list of 1 to 64 names",
        ),
        (&format!("{head}reopened = \"no\"\n"), "notify.reopened: invalid value"),
        (&format!("{head}timeout = \"2m\"\n"), "notify.timeout: invalid value \"2m\": must be 100ms..=1m"),
        (&format!("{head}give_up_after = 0\n"), "notify.give_up_after: invalid value 0: must be 1s..=24h"),
        (&format!("{head}queue_max = 10001\n"), "notify.queue_max: invalid value 10001: must be 1..=10000"),
        (&format!("{head}secret_file = \"\"\nca_file = 3\n"), "notify.ca_file: invalid value 3"),
        (&format!("{head}{head}"), "`name` chat stands in another [[notify]] already"),
        (
            &(0..17)
                .map(|n| format!("[[notify]]\nname = \"t{n}\"\nurl = \"http://a\"\n"))
                .collect::<Vec<_>>()
                .concat(),
            "notify: more than 16 targets",
        ),
        ("[[notfy]]\nname = \"a\"\n", "did you mean `notify`?"),
    ] {
        let errors = parse(text).unwrap_err();
        let said = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert!(said.contains(problem), "{text}: {said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
}

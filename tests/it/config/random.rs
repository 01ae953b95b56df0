//! Whatever a file holds, it is read or refused.

use breaker::Field;
use breakerd::config::SETTINGS;
use proptest::prelude::*;

use super::{catalog, parse};

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let text = String::from_utf8_lossy(&bytes);
        let _ = parse(&text);
    }

    #[test]
    fn no_toml_makes_the_parser_panic(lines in proptest::collection::vec(line(), 0..12)) {
        let text = lines.join("\n");
        match parse(&text) {
            Ok(config) => {
                let catalog = catalog(&config);
                for service in catalog.services() {
                    for field in Field::ALL {
                        let _ = catalog.thresholds(service).value(*field);
                    }
                }
            }
            Err(errors) => {
                let mut unique = errors.clone();
                unique.sort();
                unique.dedup();
                prop_assert_eq!(unique.len(), errors.len(), "an error is told once: {:?}", errors);
            }
        }
    }
}

/// A line of a file that is nearly right.
fn line() -> impl Strategy<Value = String> {
    let fields: Vec<&str> = Field::ALL.iter().map(|field| field.as_str()).collect();
    let settings: Vec<&str> = SETTINGS.iter().map(|setting| setting.key).collect();
    let name = prop_oneof![
        6 => proptest::sample::select(fields),
        2 => proptest::sample::select(settings),
        1 => proptest::sample::select(vec!["enabled", "generation", "nonsense", "\"a b\"", "a.b", "grpc"]),
    ];
    let value = prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        (0_u32..200).prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| format!("{number:?}")),
        (0_u32..200_000).prop_map(|number| format!("{}.{:03}", number / 1_000, number % 1_000)),
        proptest::sample::select(vec![
            "true",
            "\"1min\"",
            "\"TIME_BASED\"",
            "\"EXPONENTIAL\"",
            "[\"A\"]",
            "[[1]]",
            "{ a = 1 }",
            "1979-05-27",
            "\"\"",
            "'127.0.0.1:1'",
            "+inf",
            "-nan",
            "0xff",
            "1e400",
            "\"9999999999999999y\"",
            "\"\"\"\n\n\"\"\"",
        ])
        .prop_map(str::to_owned),
        "\\PC*".prop_map(|text| format!("{text:?}")),
    ];
    prop_oneof![
        3 => proptest::sample::select(vec![
            "[circuit_breaker]", "[circuit_breaker.a]", "[circuit_breaker.\"b.c\"]", "[grpc]", "[[http]]", "[log]",
        ])
        .prop_map(str::to_owned),
        8 => (name, value).prop_map(|(name, value)| format!("{name} = {value}")),
    ]
}

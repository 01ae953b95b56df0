//! What breakers of this process are judged by while breakerd is away: as breakerd told it, or as the application did.

use std::sync::Arc;

use breaker::{Field, Layer, Origin, Problem, Thresholds, Value, merge};
use breakerd_api::{thresholds, v1};

/// One process is one reporter: alone it cannot wait for others.
fn alone(mut layer: Layer) -> Layer {
    layer.unset(Field::MinimumReporters);
    layer
}

/// Effective thresholds, as breakerd sends them. None: a newer breakerd sent what this client does not understand.
pub(crate) fn from_wire(wire: &v1::Thresholds) -> Option<Arc<Thresholds>> {
    let mut layer = Layer::default();
    for field in Field::ALL {
        match thresholds::get(wire, *field).ok()? {
            Some(value) => layer.set(*field, value).ok()?,
            // Disabled is absent on the wire, and 0 in a layer, where absent is the default.
            None if field.is_off_at_zero() => layer.set(*field, Value::Count(0)).ok()?,
            None => {}
        }
    }
    merge(&[(Origin::Api, &alone(layer))]).ok().map(|merged| Arc::new(merged.thresholds))
}

/// Thresholds of the application: those of a service over its defaults.
///
/// # Errors
/// The first contradiction.
pub(crate) fn from_layers(defaults: Option<&Layer>, service: &Layer) -> Result<Arc<Thresholds>, Problem> {
    let (defaults, service) = (alone(defaults.cloned().unwrap_or_default()), alone(service.clone()));
    let merged = merge(&[(Origin::FileDefaults, &defaults), (Origin::FileService, &service)]);
    match merged {
        Ok(merged) => Ok(Arc::new(merged.thresholds)),
        Err(problems) => Err(problems.into_iter().next().expect("a refusal names a problem")),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn wire(thresholds: &Thresholds) -> v1::Thresholds {
        let mut wire = v1::Thresholds::default();
        for field in Field::ALL {
            match thresholds.value(*field) {
                Some(Value::Count(0)) | None => {}
                Some(value) => thresholds::set(&mut wire, *field, &value),
            }
        }
        wire
    }

    #[test]
    fn thresholds_come_over_the_wire_as_they_are_but_for_the_other_reporters() {
        let layer = |pairs: &[(Field, Value)]| {
            pairs
                .iter()
                .fold(Layer::default(), |layer, (field, value)| layer.with(*field, value.clone()).unwrap())
        };
        for layer in [
            layer(&[]),
            layer(&[
                (Field::FailureThreshold, Value::Count(3)),
                (Field::Timeout, Value::Duration(Duration::from_secs(9))),
            ]),
            layer(&[
                (Field::FailureRateThreshold, Value::Rate(50_000)),
                (Field::SlidingWindowSize, Value::Count(20)),
            ]),
            layer(&[
                (Field::FailureCountThreshold, Value::Count(7)),
                (Field::SuccessThreshold, Value::Count(0)),
            ]),
        ] {
            let sent = merge(&[(Origin::Api, &layer)]).unwrap().thresholds;
            let heard = from_wire(&wire(&sent)).unwrap();
            for field in Field::ALL {
                assert_eq!(heard.value(*field), sent.value(*field), "{field} of {layer:?}");
            }
        }
        let layer = layer(&[(Field::MinimumReporters, Value::Count(4))]);
        let sent = merge(&[(Origin::Api, &layer)]).unwrap().thresholds;
        assert_eq!(from_wire(&wire(&sent)).unwrap().minimum_reporters(), 1);
    }
}

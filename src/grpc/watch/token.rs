//! Where a stream is resumed: a store, and a place in it.
//!
//! Opaque, and checked as page tokens are. The selection is not part of it: whoever resumes with another one gets what
//! happened behind the place of what it selects now.

use crate::feed::Feeds;
use crate::grpc::fault::{Faults, Kind};
use crate::grpc::page;
use crate::store::Place;

/// Which stream a token is of.
#[derive(Debug, Clone, Copy)]
pub(super) enum Of {
    Config,
    Transitions,
}

/// The store that places are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Home {
    store_id: u64,
    lineage: u32,
}

/// How far the configuration was told: all before `revision`, and of that the services up to one in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ConfigPlace {
    pub(super) revision: u64,
    /// None: all of the revision.
    pub(super) within: Option<String>,
}

impl Of {
    const fn filters(self) -> &'static [u8] {
        match self {
            Self::Config => b"watch config",
            Self::Transitions => b"watch transitions",
        }
    }
}

impl Home {
    pub(super) fn of(feeds: &Feeds) -> Self {
        Self { store_id: feeds.store_id, lineage: feeds.lineage }
    }

    pub(super) fn config_token(self, place: &ConfigPlace) -> String {
        let mut bytes = self.begin(place.revision);
        if let Some(within) = &place.within {
            bytes.push(0);
            bytes.extend_from_slice(within.as_bytes());
        }
        page::token(Of::Config.filters(), &bytes)
    }

    pub(super) fn transitions_token(self, place: Place) -> String {
        let mut bytes = self.begin(place.revision);
        bytes.extend_from_slice(&place.number.to_be_bytes());
        page::token(Of::Transitions.filters(), &bytes)
    }

    fn begin(self, revision: u64) -> Vec<u8> {
        let mut bytes = self.store_id.to_be_bytes().to_vec();
        bytes.extend_from_slice(&self.lineage.to_be_bytes());
        bytes.extend_from_slice(&revision.to_be_bytes());
        bytes
    }
}

/// The store and the place that a token names; none: there is no token.
pub(super) fn config_place(token: &str, faults: &mut Faults) -> Option<(Home, ConfigPlace)> {
    read(Of::Config, token, faults, |revision, rest| {
        let within = match rest.split_first() {
            None => None,
            Some((0, name)) => Some(std::str::from_utf8(name).ok()?.to_owned()),
            Some(_) => return None,
        };
        Some(ConfigPlace { revision, within })
    })
}

/// As [`config_place`].
pub(super) fn transitions_place(token: &str, faults: &mut Faults) -> Option<(Home, Place)> {
    read(Of::Transitions, token, faults, |revision, rest| {
        Some(Place { revision, number: u32::from_be_bytes(rest.try_into().ok()?) })
    })
}

fn read<T>(
    of: Of,
    token: &str,
    faults: &mut Faults,
    place: impl FnOnce(u64, &[u8]) -> Option<T>,
) -> Option<(Home, T)> {
    if token.is_empty() {
        return None;
    }
    let read = page::position(of.filters(), token).ok().and_then(|bytes| {
        let (store_id, rest) = bytes.split_first_chunk()?;
        let (lineage, rest) = rest.split_first_chunk()?;
        let (revision, rest) = rest.split_first_chunk()?;
        let home = Home { store_id: u64::from_be_bytes(*store_id), lineage: u32::from_be_bytes(*lineage) };
        Some((home, place(u64::from_be_bytes(*revision), rest)?))
    });
    if read.is_none() {
        faults.add("resume_token", Kind::InvalidToken, "is not one that this method gave");
    }
    read
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_leads_back_to_its_place_and_only_in_its_stream() {
        let home = Home { store_id: u64::MAX, lineage: 3 };
        let mut faults = Faults::default();
        for within in [None, Some(String::new()), Some("payments".to_owned())] {
            let place = ConfigPlace { revision: 7, within };
            let token = home.config_token(&place);
            assert_eq!(config_place(&token, &mut faults), Some((home, place)));
        }
        let place = Place { revision: 1, number: u32::MAX };
        let token = home.transitions_token(place);
        assert_eq!(transitions_place(&token, &mut faults), Some((home, place)));
        assert_eq!(faults, Faults::default());
        assert_eq!(config_place(&token, &mut faults), None);
        assert_ne!(faults, Faults::default());
    }
}

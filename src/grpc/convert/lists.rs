//! Requests of lists: filters, page sizes, cursors.

use breaker::{Key, State};
use breakerd_api::v1;

use super::super::page;
use super::super::violations::{Kind, Violations};
use super::states::states;
use super::{check_name, times};
use crate::engine::ListQuery;
use crate::store::{HistoryCursor, TransitionQuery};

const PAGE_DEFAULT: u32 = 100;
const PAGE_MAX: u32 = 1_000;

/// A page of breakers.
#[derive(Debug)]
pub(crate) struct BreakerList {
    pub(crate) size: usize,
    pub(crate) after: Option<Key>,
    pub(crate) wanted: Wanted,
    filters: Vec<u8>,
}

/// Which breakers.
#[derive(Debug)]
pub(crate) struct Wanted {
    service: String,
    name_prefix: String,
    states: Vec<State>,
}

impl Wanted {
    /// Only this service; empty: any.
    pub(crate) fn service(&self) -> &str {
        &self.service
    }
}

impl TryFrom<v1::ListBreakersRequest> for BreakerList {
    type Error = Violations;

    fn try_from(request: v1::ListBreakersRequest) -> Result<Self, Violations> {
        let mut violations = Violations::default();
        let size = page_size(request.page_size, &mut violations);
        check_service_filter(&request.service, &mut violations);
        check_name("name_prefix", &request.name_prefix, &mut violations);
        let mut states = states(&request.states, &mut violations);
        states.sort_unstable();
        states.dedup();
        let page_token = request.page_token.clone();
        let filters = v1::ListBreakersRequest { page_size: 0, page_token: String::new(), ..request.clone() };
        let filters = page::filters("ListBreakers", &filters);
        let after = read_page_token(&page_token, &filters, read_key, &mut violations);
        let wanted = Wanted { service: request.service, name_prefix: request.name_prefix, states };
        violations.unless(Self { size: size as usize, after, wanted, filters })
    }
}

impl BreakerList {
    /// The query for the engine: one more than the page holds, to know whether another page follows.
    pub(crate) fn query(&self) -> ListQuery<'_> {
        let Wanted { service, name_prefix, states } = &self.wanted;
        ListQuery {
            after: self.after.as_ref(),
            service: Some(&**service).filter(|service| !service.is_empty()),
            name_prefix,
            states,
            limit: self.size + 1,
        }
    }

    /// The page token for what comes after `last`.
    pub(crate) fn token_after(&self, last: &Key) -> String {
        page::token(&self.filters, format!("{}\0{}", last.service(), last.name()).as_bytes())
    }
}

fn read_key(position: &[u8]) -> Option<Key> {
    let (service, name) = std::str::from_utf8(position).ok()?.split_once('\0')?;
    Key::new(service, name).ok()
}

/// A page of the history.
#[derive(Debug)]
pub(crate) struct TransitionList {
    pub(crate) size: usize,
    /// Reads one row more than the page holds, to know whether another page follows.
    pub(crate) query: TransitionQuery,
    filters: Vec<u8>,
}

impl TryFrom<v1::ListTransitionsRequest> for TransitionList {
    type Error = Violations;

    fn try_from(request: v1::ListTransitionsRequest) -> Result<Self, Violations> {
        let mut violations = Violations::default();
        let size = page_size(request.page_size, &mut violations);
        check_service_filter(&request.service, &mut violations);
        check_name("name", &request.name, &mut violations);
        let to = states(&request.states, &mut violations);
        let from_time = times::bound("from_time", request.from_time.as_ref(), &mut violations);
        let until_time = times::bound("to_time", request.to_time.as_ref(), &mut violations);
        if let (Some(from), Some(until)) = (from_time, until_time)
            && from >= until
        {
            violations.add("from_time", Kind::OutOfRange, "must be before to_time");
        }
        let oldest_first = match v1::TransitionOrder::try_from(request.order) {
            Ok(v1::TransitionOrder::Unspecified | v1::TransitionOrder::NewestFirst) => false,
            Ok(v1::TransitionOrder::OldestFirst) => true,
            Err(_) => {
                let problem = format!("unknown value {}: must be a SortOrder", request.order);
                violations.add("order", Kind::UnknownValue, problem);
                false
            }
        };
        let page_token = request.page_token.clone();
        let filters =
            v1::ListTransitionsRequest { page_size: 0, page_token: String::new(), ..request.clone() };
        let filters = page::filters("ListTransitions", &filters);
        let after = read_page_token(&page_token, &filters, decode_cursor, &mut violations);
        let query = TransitionQuery {
            service: not_empty(request.service),
            name: not_empty(request.name),
            to,
            from_time,
            until_time,
            oldest_first,
            after,
            limit: size + 1,
        };
        violations.unless(Self { size: size as usize, query, filters })
    }
}

impl TransitionList {
    /// The page token for what comes after `last`.
    pub(crate) fn token_after(&self, last: HistoryCursor) -> String {
        page::token(&self.filters, &encode_cursor(last))
    }
}

pub(super) fn encode_cursor(cursor: HistoryCursor) -> [u8; 12] {
    let mut position = [0; 12];
    position[..8].copy_from_slice(&cursor.revision.to_be_bytes());
    position[8..].copy_from_slice(&cursor.number.to_be_bytes());
    position
}

pub(super) fn decode_cursor(position: &[u8]) -> Option<HistoryCursor> {
    let (revision, number) = position.split_first_chunk()?;
    let (revision, number) = (u64::from_be_bytes(*revision), number.try_into().ok()?);
    // Beyond that no store counts.
    i64::try_from(revision).ok()?;
    Some(HistoryCursor { revision, number: u32::from_be_bytes(number) })
}

pub(super) fn page_size(page_size: i32, violations: &mut Violations) -> u32 {
    match u32::try_from(page_size) {
        Ok(0) => PAGE_DEFAULT,
        Ok(size) => size.min(PAGE_MAX),
        Err(_) => {
            violations.add(
                "page_size",
                Kind::OutOfRange,
                format!("invalid value {page_size}: must not be negative"),
            );
            PAGE_DEFAULT
        }
    }
}

pub(super) fn check_service_filter(service: &str, violations: &mut Violations) {
    if !service.is_empty()
        && let Err(error) = breaker::check_service(service)
    {
        violations.add_key("service", &error);
    }
}

pub(super) fn read_page_token<T>(
    token: &str,
    filters: &[u8],
    read: fn(&[u8]) -> Option<T>,
    violations: &mut Violations,
) -> Option<T> {
    if token.is_empty() {
        return None;
    }
    let cursor = page::position(filters, token).ok().as_deref().and_then(read);
    if cursor.is_none() {
        violations.add_all(page::invalid_token());
    }
    cursor
}

pub(super) fn not_empty(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_token_of_one_list_is_refused_by_every_other() {
        use super::super::changes::{ChangeList, ConfigList};
        let cursor = HistoryCursor { revision: 3, number: 1 };
        let history = TransitionList::try_from(v1::ListTransitionsRequest::default()).unwrap();
        let breakers = BreakerList::try_from(v1::ListBreakersRequest::default()).unwrap();
        let changes = ChangeList::try_from(v1::ListConfigChangesRequest::default()).unwrap();
        let configs = ConfigList::try_from(v1::ListConfigsRequest::default()).unwrap();
        let tokens = [
            breakers.token_after(&Key::new("s", "n").unwrap()),
            history.token_after(cursor),
            changes.token_after(cursor),
            configs.token_after("s"),
        ];
        for (of, page_token) in tokens.into_iter().enumerate() {
            let given = || page_token.clone();
            let accepted = [
                BreakerList::try_from(v1::ListBreakersRequest { page_token: given(), ..Default::default() })
                    .is_ok(),
                TransitionList::try_from(v1::ListTransitionsRequest {
                    page_token: given(),
                    ..Default::default()
                })
                .is_ok(),
                ChangeList::try_from(v1::ListConfigChangesRequest {
                    page_token: given(),
                    ..Default::default()
                })
                .is_ok(),
                ConfigList::try_from(v1::ListConfigsRequest { page_token: given(), ..Default::default() })
                    .is_ok(),
            ];
            assert_eq!(accepted, std::array::from_fn(|list| list == of), "a token of list {of}");
        }
    }

    #[test]
    fn a_place_that_no_store_counts_to_is_none() {
        let last = HistoryCursor { revision: u64::MAX / 2, number: u32::MAX };
        assert_eq!(decode_cursor(&encode_cursor(last)), Some(last));
        assert_eq!(
            decode_cursor(&encode_cursor(HistoryCursor { revision: last.revision + 1, number: 0 })),
            None
        );
    }
}

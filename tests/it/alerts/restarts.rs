//! A breakerd that ends and starts again: what Prometheus has of it while containers are started again in their pods, and while pods are replaced.
//!
//! Scraped each 30 seconds. Time begins at 0, and the starts are in the second hour, of which the alert then tells.

use super::story::{Story, fires, silent};

const ALERT: &str = "BreakerdRestarts";

/// Prometheus writes that a series is over when a scrape fails.
pub(super) const STORIES: &[Story] = &[
    fires(
        ALERT,
        "one container of three is killed every ten minutes, for its memory: pod and address stay",
        "2h",
        &[
            (
                "process_start_time_seconds{pod='breakerd-0',instance='a'}",
                "0x129 stale _x2 3990x17 stale _x2 4590x17 stale _x2 5190x17 stale _x2 5790x60",
            ),
            ("process_start_time_seconds{pod='breakerd-1',instance='b'}", "0x300"),
            ("process_start_time_seconds{pod='breakerd-2',instance='c'}", "0x300"),
        ],
    ),
    fires(
        ALERT,
        "one process of three without pods is started again by its supervisor",
        "2h",
        &[
            (
                "process_start_time_seconds{instance='a'}",
                "0x199 6000x9 6300x9 stale _x5 6750x4 stale _x3 7050x20",
            ),
            ("process_start_time_seconds{instance='b'}", "0x300"),
            ("process_start_time_seconds{instance='c'}", "0x300"),
        ],
    ),
    fires(
        ALERT,
        "one pod of a StatefulSet is replaced every ten minutes: its name stays, and its address changes",
        "2h",
        &[
            ("process_start_time_seconds{pod='breakerd-0',instance='a'}", "_x132 3990x17 stale"),
            ("process_start_time_seconds{pod='breakerd-0',instance='b'}", "_x152 4590x17 stale"),
            ("process_start_time_seconds{pod='breakerd-0',instance='c'}", "_x172 5190x17 stale"),
            ("process_start_time_seconds{pod='breakerd-0',instance='d'}", "_x192 5790x60"),
            ("process_start_time_seconds{pod='breakerd-1',instance='e'}", "0x300"),
            ("process_start_time_seconds{pod='breakerd-2',instance='f'}", "0x300"),
        ],
    ),
    fires(
        ALERT,
        "the pod of a Deployment is evicted every ten minutes: the next one has another name and another address",
        "2h",
        &[
            ("process_start_time_seconds{pod='breakerd-k2',instance='a'}", "_x132 3990x17 stale"),
            ("breakerd_build_info{version='1',pod='breakerd-k2',instance='a'}", "_x132 1x17 stale"),
            ("process_start_time_seconds{pod='breakerd-m4',instance='b'}", "_x152 4590x17 stale"),
            ("breakerd_build_info{version='1',pod='breakerd-m4',instance='b'}", "_x152 1x17 stale"),
            ("process_start_time_seconds{pod='breakerd-p6',instance='c'}", "_x172 5190x17 stale"),
            ("breakerd_build_info{version='1',pod='breakerd-p6',instance='c'}", "_x172 1x17 stale"),
            ("process_start_time_seconds{pod='breakerd-r8',instance='d'}", "_x192 5790x60"),
            ("breakerd_build_info{version='1',pod='breakerd-r8',instance='d'}", "_x192 1x60"),
        ],
    ),
    silent(
        ALERT,
        "a container is killed three times",
        "2h",
        &[(
            "process_start_time_seconds{pod='breakerd-0',instance='a'}",
            "0x129 stale _x2 3990x17 stale _x2 4590x17 stale _x2 5190x60",
        )],
    ),
    silent(
        ALERT,
        "it was killed every ten minutes, until an hour ago",
        "3h",
        &[(
            "process_start_time_seconds{pod='breakerd-0',instance='a'}",
            "0x129 stale _x2 3990x17 stale _x2 4590x17 stale _x2 5190x17 stale _x2 5790x17 stale _x2 6390x17 stale _x2 6990x200",
        )],
    ),
    silent(
        ALERT,
        "one restart",
        "2h",
        &[("process_start_time_seconds{instance='a'}", "0x199 stale 6030x100")],
    ),
    silent(
        ALERT,
        "five pods of a StatefulSet are upgraded one after the other: their names stay",
        "2h",
        &[
            ("process_start_time_seconds{pod='breakerd-4',instance='a'}", "0x199 stale"),
            ("process_start_time_seconds{pod='breakerd-4',instance='f'}", "_x201 6030x60"),
            ("process_start_time_seconds{pod='breakerd-3',instance='b'}", "0x203 stale"),
            ("process_start_time_seconds{pod='breakerd-3',instance='g'}", "_x205 6150x60"),
            ("process_start_time_seconds{pod='breakerd-2',instance='c'}", "0x207 stale"),
            ("process_start_time_seconds{pod='breakerd-2',instance='h'}", "_x209 6270x60"),
            ("process_start_time_seconds{pod='breakerd-1',instance='d'}", "0x211 stale"),
            ("process_start_time_seconds{pod='breakerd-1',instance='i'}", "_x213 6390x60"),
            ("process_start_time_seconds{pod='breakerd-0',instance='e'}", "0x215 stale"),
            ("process_start_time_seconds{pod='breakerd-0',instance='j'}", "_x217 6510x60"),
        ],
    ),
    silent(
        ALERT,
        "five pods of a Deployment are upgraded, two at a time: their names change",
        "2h",
        &[
            ("process_start_time_seconds{pod='breakerd-1a',instance='a'}", "0x205 stale"),
            ("breakerd_build_info{version='1',pod='breakerd-1a',instance='a'}", "1x205 stale"),
            ("process_start_time_seconds{pod='breakerd-1b',instance='b'}", "0x205 stale"),
            ("breakerd_build_info{version='1',pod='breakerd-1b',instance='b'}", "1x205 stale"),
            ("process_start_time_seconds{pod='breakerd-1c',instance='c'}", "0x209 stale"),
            ("breakerd_build_info{version='1',pod='breakerd-1c',instance='c'}", "1x209 stale"),
            ("process_start_time_seconds{pod='breakerd-1d',instance='d'}", "0x209 stale"),
            ("breakerd_build_info{version='1',pod='breakerd-1d',instance='d'}", "1x209 stale"),
            ("process_start_time_seconds{pod='breakerd-1e',instance='e'}", "0x213 stale"),
            ("breakerd_build_info{version='1',pod='breakerd-1e',instance='e'}", "1x213 stale"),
            ("process_start_time_seconds{pod='breakerd-2a',instance='f'}", "_x202 6060x60"),
            ("breakerd_build_info{version='2',pod='breakerd-2a',instance='f'}", "_x202 1x60"),
            ("process_start_time_seconds{pod='breakerd-2b',instance='g'}", "_x202 6060x60"),
            ("breakerd_build_info{version='2',pod='breakerd-2b',instance='g'}", "_x202 1x60"),
            ("process_start_time_seconds{pod='breakerd-2c',instance='h'}", "_x206 6180x60"),
            ("breakerd_build_info{version='2',pod='breakerd-2c',instance='h'}", "_x206 1x60"),
            ("process_start_time_seconds{pod='breakerd-2d',instance='i'}", "_x206 6180x60"),
            ("breakerd_build_info{version='2',pod='breakerd-2d',instance='i'}", "_x206 1x60"),
            ("process_start_time_seconds{pod='breakerd-2e',instance='j'}", "_x210 6300x60"),
            ("breakerd_build_info{version='2',pod='breakerd-2e',instance='j'}", "_x210 1x60"),
        ],
    ),
    silent(
        ALERT,
        "five processes without pods are upgraded one after the other: their addresses stay",
        "2h",
        &[
            ("process_start_time_seconds{instance='a'}", "0x199 6000x60"),
            ("process_start_time_seconds{instance='b'}", "0x203 6120x60"),
            ("process_start_time_seconds{instance='c'}", "0x207 6240x60"),
            ("process_start_time_seconds{instance='d'}", "0x211 6360x60"),
            ("process_start_time_seconds{instance='e'}", "0x215 6480x60"),
        ],
    ),
    silent(
        ALERT,
        "the only pod, of a Deployment, is installed, upgraded and rolled back within an hour",
        "2h",
        &[
            ("process_start_time_seconds{pod='breakerd-1a',instance='a'}", "_x132 3990x17 stale"),
            ("breakerd_build_info{version='1',pod='breakerd-1a',instance='a'}", "_x132 1x17 stale"),
            ("process_start_time_seconds{pod='breakerd-2a',instance='b'}", "_x152 4590x17 stale"),
            ("breakerd_build_info{version='2',pod='breakerd-2a',instance='b'}", "_x152 1x17 stale"),
            ("process_start_time_seconds{pod='breakerd-1b',instance='c'}", "_x172 5190x100"),
            ("breakerd_build_info{version='1',pod='breakerd-1b',instance='c'}", "_x172 1x100"),
        ],
    ),
    silent(
        ALERT,
        "another program that the same Prometheus scrapes is started again and again",
        "2h",
        &[
            ("process_start_time_seconds{instance='a'}", "0x300"),
            ("breakerd_build_info{version='1',instance='a'}", "1x300"),
            ("process_start_time_seconds{instance='shop'}", "0x129 3900x19 4500x19 5100x19 5700x19 6300x100"),
        ],
    ),
    silent(
        ALERT,
        "Prometheus begins to scrape processes that have run for long",
        "2h",
        &[
            ("process_start_time_seconds{instance='a'}", "_x200 60x60"),
            ("process_start_time_seconds{instance='b'}", "_x200 70x60"),
        ],
    ),
];

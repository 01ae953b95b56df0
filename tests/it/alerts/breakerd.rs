//! What happens to breakerd itself.

use super::story::{Story, fires, silent};

pub(super) const STORIES: &[Story] = &[
    fires(
        "BreakerdDown",
        "nothing is scraped any more",
        "5m",
        &[("breakerd_build_info{version='1',instance='a'}", "1 1 stale")],
    ),
    fires(
        "BreakerdDown",
        "three replicas that end together are one installation",
        "5m",
        &[
            ("breakerd_build_info{version='1',instance='a'}", "1 1 stale"),
            ("breakerd_build_info{version='1',instance='b'}", "1 1 stale"),
            ("breakerd_build_info{version='2',instance='c'}", "1 1 stale"),
        ],
    ),
    silent(
        "BreakerdDown",
        "one of two is left",
        "5m",
        &[
            ("breakerd_build_info{version='1',instance='a'}", "1 1 stale"),
            ("breakerd_build_info{version='1',instance='b'}", "1x20"),
        ],
    ),
    fires(
        "BreakerdStoreUnreachable",
        "an outage",
        "5m",
        &[("breakerd_store_reachable{instance='a'}", "1 0x20")],
    ),
    silent(
        "BreakerdStoreUnreachable",
        "a minute of it",
        "5m",
        &[("breakerd_store_reachable{instance='a'}", "1 0 0 1x20")],
    ),
    fires(
        "BreakerdStoreNotWritable",
        "a standby",
        "7m",
        &[("breakerd_store_writable{instance='a'}", "1 0x20")],
    ),
    silent(
        "BreakerdStoreNotWritable",
        "a switchover",
        "7m",
        &[("breakerd_store_writable{instance='a'}", "1 0 0 0 0 1x20")],
    ),
    fires(
        "BreakerdJournalLags",
        "the store is away",
        "10m",
        &[("breakerd_journal_lag_seconds{instance='a'}", "0+30x30")],
    ),
    silent(
        "BreakerdJournalLags",
        "it is slow",
        "10m",
        &[("breakerd_journal_lag_seconds{instance='a'}", "0 20 50 59 10x30")],
    ),
    fires(
        "BreakerdJournalFull",
        "it grows while the store is away",
        "10m",
        &[
            ("breakerd_journal_bytes{instance='a'}", "900x30"),
            ("breakerd_journal_bytes_max{instance='a'}", "1000x30"),
            ("breakerd_journal_lag_seconds{instance='a'}", "600x30"),
        ],
    ),
    silent(
        "BreakerdJournalFull",
        "what it has is in the store already, and kept for ten minutes",
        "10m",
        &[
            ("breakerd_journal_bytes{instance='a'}", "900x30"),
            ("breakerd_journal_bytes_max{instance='a'}", "1000x30"),
            ("breakerd_journal_lag_seconds{instance='a'}", "0x30"),
        ],
    ),
    fires(
        "BreakerdJournalFails",
        "the disk is full",
        "2m",
        &[("breakerd_journal_in_memory{instance='a'}", "0 3x10")],
    ),
    fires(
        "BreakerdJournalFails",
        "a write failed",
        "2m",
        &[("breakerd_journal_write_errors_total{instance='a'}", "0 1x10")],
    ),
    silent(
        "BreakerdJournalFails",
        "all writes succeed",
        "2m",
        &[
            ("breakerd_journal_write_errors_total{instance='a'}", "0x10"),
            ("breakerd_journal_in_memory{instance='a'}", "0x10"),
        ],
    ),
    silent(
        "BreakerdJournalFails",
        "a write failed an hour ago",
        "1h",
        &[
            ("breakerd_journal_write_errors_total{instance='a'}", "0 1x130"),
            ("breakerd_journal_in_memory{instance='a'}", "0x130"),
        ],
    ),
    fires(
        "BreakerdHistoryLost",
        "transitions were dropped",
        "3m",
        &[("breakerd_journal_dropped_total{instance='a'}", "0 0 7x10")],
    ),
    silent(
        "BreakerdHistoryLost",
        "none was",
        "3m",
        &[("breakerd_journal_dropped_total{instance='a'}", "7x10")],
    ),
    fires(
        "BreakerdReplicaAlone",
        "it is cut off",
        "4m",
        &[("breakerd_replica_alone{instance='a'}", "0 1x10")],
    ),
    silent(
        "BreakerdReplicaAlone",
        "for a minute",
        "4m",
        &[("breakerd_replica_alone{instance='a'}", "0 1 1 0x10")],
    ),
    fires(
        "BreakerdReplicaBehind",
        "its tail stands still",
        "5m",
        &[("breakerd_store_revision_lag_seconds{instance='a'}", "0+30x10")],
    ),
    silent(
        "BreakerdReplicaBehind",
        "it reads each second",
        "5m",
        &[("breakerd_store_revision_lag_seconds{instance='a'}", "1 0 12 1 0x10")],
    ),
    fires(
        "BreakerdConfigRefused",
        "a file with an error",
        "7m",
        &[("breakerd_config_last_reload_successful{instance='a'}", "1 0x20")],
    ),
    silent(
        "BreakerdConfigRefused",
        "corrected at once",
        "7m",
        &[("breakerd_config_last_reload_successful{instance='a'}", "1 0 0 1x20")],
    ),
    fires(
        "BreakerdSettingsWaitForRestart",
        "two hours",
        "2h",
        &[("breakerd_config_settings_pending_restart{instance='a'}", "2x250")],
    ),
    silent(
        "BreakerdSettingsWaitForRestart",
        "restarted soon",
        "2h",
        &[("breakerd_config_settings_pending_restart{instance='a'}", "2x20 0x230")],
    ),
    fires(
        "BreakerdAccessFilesRefused",
        "tokens",
        "7m",
        &[("breakerd_access_last_reload_successful{instance='a'}", "1 0x20")],
    ),
    fires(
        "BreakerdAccessFilesRefused",
        "a certificate",
        "7m",
        &[("breakerd_tls_last_reload_successful{instance='a'}", "1 0x20")],
    ),
    silent(
        "BreakerdAccessFilesRefused",
        "both are taken",
        "7m",
        &[
            ("breakerd_access_last_reload_successful{instance='a'}", "1x20"),
            ("breakerd_tls_last_reload_successful{instance='a'}", "1x20"),
        ],
    ),
    // Time begins at 0 there.
    fires(
        "BreakerdCertificateExpires",
        "in six days",
        "1m",
        &[("breakerd_tls_certificate_expiry_timestamp_seconds{instance='a'}", "518400x20")],
    ),
    silent(
        "BreakerdCertificateExpires",
        "in eight days",
        "1m",
        &[("breakerd_tls_certificate_expiry_timestamp_seconds{instance='a'}", "691200x20")],
    ),
    silent(
        "BreakerdCertificateExpires",
        "there is no TLS",
        "1m",
        &[("breakerd_tls_certificate_expiry_timestamp_seconds{instance='a'}", "0x20")],
    ),
    fires(
        "BreakerdWatchersResync",
        "each second",
        "40m",
        &[("breakerd_watch_resyncs_total{method='WatchBreakers',instance='a'}", "0+30x90")],
    ),
    silent(
        "BreakerdWatchersResync",
        "a restart of the watchers",
        "40m",
        &[("breakerd_watch_resyncs_total{method='WatchBreakers',instance='a'}", "0x20 50x70")],
    ),
    fires(
        "BreakerdWatchersDropped",
        "a watcher whose window is shut, as a Prometheus saw it: it is reset every 30 seconds, and watches again",
        "20m",
        &[
            ("breakerd_access_refused_total{protocol='grpc',reason='stalled',instance='a'}", "0x3 1+1x60"),
            ("breakerd_access_refused_total{protocol='http',reason='stalled',instance='a'}", "0x64"),
        ],
    ),
    fires(
        "BreakerdWatchersDropped",
        "a watcher that waits between two attempts is reset every other minute",
        "30m",
        &[("breakerd_access_refused_total{protocol='grpc',reason='stalled',instance='a'}", "0x6 0+0.25x80")],
    ),
    silent(
        "BreakerdWatchersDropped",
        "a host dies with forty streams, and twenty minutes later another one",
        "35m",
        &[(
            "breakerd_access_refused_total{protocol='grpc',reason='stalled',instance='a'}",
            "0x6 40x40 80x40",
        )],
    ),
    silent(
        "BreakerdWatchersDropped",
        "a client stalls every five minutes",
        "1h",
        &[("breakerd_access_refused_total{protocol='grpc',reason='stalled',instance='a'}", "0+0.1x120")],
    ),
    silent(
        "BreakerdWatchersDropped",
        "clients are refused for other reasons",
        "30m",
        &[(
            "breakerd_access_refused_total{protocol='grpc',reason='unauthenticated',instance='a'}",
            "0+60x90",
        )],
    ),
    fires(
        "BreakerdBreakersNearLimit",
        "85 and 5 of 100",
        "20m",
        &[
            ("circuit_breakers{state='CLOSED',instance='a'}", "85x50"),
            ("circuit_breakers_evicted{instance='a'}", "5x50"),
            ("circuit_breakers_max{instance='a'}", "100x50"),
        ],
    ),
    silent(
        "BreakerdBreakersNearLimit",
        "70 and 5 of 100, on each of two replicas",
        "20m",
        &[
            ("circuit_breakers{state='CLOSED',instance='a'}", "70x50"),
            ("circuit_breakers_evicted{instance='a'}", "5x50"),
            ("circuit_breakers_max{instance='a'}", "100x50"),
            ("circuit_breakers{state='CLOSED',instance='b'}", "70x50"),
            ("circuit_breakers_evicted{instance='b'}", "5x50"),
            ("circuit_breakers_max{instance='b'}", "100x50"),
        ],
    ),
    fires(
        "BreakerdTaskFails",
        "a panic",
        "2m",
        &[("breakerd_task_failures_total{task='timer',instance='a'}", "0 1x10")],
    ),
    silent(
        "BreakerdTaskFails",
        "none",
        "2m",
        &[("breakerd_task_failures_total{task='timer',instance='a'}", "1x10")],
    ),
    fires(
        "BreakerdNotifyFails",
        "a target is down, and notifications wait",
        "7m",
        &[("breakerd_notify_queue_depth{target='chat',instance='a'}", "0 1 2 3x20")],
    ),
    fires(
        "BreakerdNotifyFails",
        "a chat rejects what is posted",
        "7m",
        &[("breakerd_notify_failed_total{target='chat',instance='a'}", "0 1x30")],
    ),
    fires(
        "BreakerdNotifyFails",
        "a secret that is none",
        "7m",
        &[("breakerd_notify_last_reload_successful{target='chat',instance='a'}", "1 0x30")],
    ),
    silent(
        "BreakerdNotifyFails",
        "a target is away for two minutes, and then gets what waited",
        "7m",
        &[
            ("breakerd_notify_queue_depth{target='chat',instance='a'}", "0 1 2 2 1 0x20"),
            ("breakerd_notify_failed_total{target='chat',instance='a'}", "0x30"),
            ("breakerd_notify_failed_attempts_total{target='chat',instance='a'}", "0 1 3 5x30"),
            ("breakerd_notify_last_reload_successful{target='chat',instance='a'}", "1x30"),
        ],
    ),
    fires(
        "BreakerdRefusesClients",
        "a client without a token",
        "30m",
        &[(
            "breakerd_access_refused_total{protocol='grpc',reason='unauthenticated',instance='a'}",
            "0+60x90",
        )],
    ),
    silent(
        "BreakerdRefusesClients",
        "one request each minute",
        "30m",
        &[(
            "breakerd_access_refused_total{protocol='grpc',reason='unauthenticated',instance='a'}",
            "0+0.5x90",
        )],
    ),
    silent(
        "BreakerdRefusesClients",
        "watchers that do not read have an alert of their own",
        "30m",
        &[("breakerd_access_refused_total{protocol='grpc',reason='stalled',instance='a'}", "0+60x90")],
    ),
];

//! What could not be written, written once the disk works again.

use super::*;

/// A journal with one entry in a file and `entries` in memory.
fn in_memory(bench: &Bench, entries: u64) -> Journal {
    let (journal, _) = bench.open(1);
    append(&journal, "a", 1);
    bench.disk.fails(io::ErrorKind::Other, 0);
    for epoch in 2..2 + entries {
        append(&journal, "a", epoch);
    }
    bench.disk.works();
    journal
}

/// What the store is given of a journal that goes on, one after another.
fn given(epochs: std::ops::RangeInclusive<u64>) -> Vec<String> {
    epochs.map(|epoch| format!("a {epoch}")).collect()
}

#[test]
fn what_was_in_memory_is_read_from_the_file_that_it_was_written_to() {
    // Few enough to be written in one go, and more than are.
    for entries in [1, 150, 2_500] {
        let bench = Bench::sized(|sizes| sizes.memory_bytes_max = 4 << 20);
        let journal = in_memory(&bench, entries);
        keep_up(&journal);
        assert_eq!(journal.stats(START).in_memory, 0);
        let newest = append(&journal, "a", entries + 2);
        assert!(said(&drain(&journal)) == given(1..=entries + 2), "{entries}");
        assert_eq!(journal.stored_up_to(), newest);
    }
}

#[test]
fn the_files_are_numbered_one_after_another_and_have_the_bytes_that_the_journal_counts() {
    let bench = Bench::new();
    let journal = in_memory(&bench, 3);
    keep_up(&journal);
    append(&journal, "a", 5);
    let names = |extension: &str| -> Vec<_> {
        (1..=9)
            .filter(|number| bench.folder.path().join(format!("{number:012}.{extension}")).exists())
            .collect()
    };
    assert_eq!(names("journal"), [1, 2, 3]);
    assert_eq!(journal.stats(START).bytes, bench.bytes("journal"));
    drain(&journal);
    journal.close();
    assert_eq!((names("journal"), names("acked")), (vec![], vec![1, 2, 3]));
    assert_eq!(journal.stats(START).bytes, bench.bytes("acked"));
    // And the next one after these.
    bench.disk.fails(io::ErrorKind::Other, 0);
    append(&journal, "a", 6);
    bench.disk.works();
    keep_up(&journal);
    assert_eq!(names("journal"), [4, 5]);
    // And again after a flush whose number was not the first.
    bench.disk.fails(io::ErrorKind::Other, 0);
    append(&journal, "a", 7);
    bench.disk.works();
    keep_up(&journal);
    assert_eq!(names("journal"), [4, 5, 6, 7]);
}

#[test]
fn a_batch_that_is_with_the_store_meanwhile_is_not_sent_again() {
    let bench = Bench::new();
    let journal = in_memory(&bench, 6);
    let first = journal.next(1).unwrap().unwrap();
    journal.done(&first);
    let batch = journal.next(3).unwrap().unwrap();
    assert_eq!(said(&batch.proposals), given(2..=4));
    keep_up(&journal);
    journal.done(&batch);
    assert_eq!(journal.stats(START).depth, 3);
    assert_eq!(said(&drain(&journal)), given(5..=7));
}

#[test]
fn a_batch_that_the_store_did_not_take_meanwhile_is_sent_again() {
    let bench = Bench::new();
    let journal = in_memory(&bench, 6);
    let first = journal.next(1).unwrap().unwrap();
    journal.done(&first);
    journal.next(3).unwrap().unwrap();
    keep_up(&journal);
    journal.failed();
    assert_eq!(said(&drain(&journal)), given(2..=7));
}

#[test]
fn no_file_is_left_of_a_memory_that_the_store_has_all_of() {
    let bench = Bench::new();
    let journal = in_memory(&bench, 3);
    bench.disk.fails(io::ErrorKind::Other, 0);
    drain(&journal);
    bench.disk.works();
    keep_up(&journal);
    assert!(!journal.stats(START).write_failing);
    let [_, active] = bench.files().try_into().unwrap();
    append(&journal, "a", 5);
    assert!(fs::read_to_string(active).unwrap().contains("\"epoch\":5"));
    assert_eq!(said(&drain(&journal)), given(5..=5));
}

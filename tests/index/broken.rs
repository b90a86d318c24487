//! Every check of an index fires: at opening, or in `verify`, and never as a panic.

use std::ops::Range;

use l0::internal::{
    Error,
    index::{DocId, Index, Weights},
    search::{Method, search},
};

use crate::support::{
    Work,
    collection::{TERMS, bisected, bytes, filled, vector, vectors},
};

const TRAILER: usize = 24;
const ROW: usize = 24;

/// The bytes of a small sound index with texts and an order; `index_fuzz` has all forms of lists.
fn sound(weights: Weights) -> Vec<u8> {
    bytes(filled(&vectors(), bisected(weights), 0))
}

fn u64_at(bytes: &[u8], at: usize) -> usize {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize
}

/// Rows of the table of sections: the place of each, and the section's kind and bytes.
fn table(bytes: &[u8]) -> Vec<(usize, u32, Range<usize>)> {
    let trailer = bytes.len() - TRAILER;
    let count = u32::from_le_bytes(bytes[trailer + 8..trailer + 12].try_into().unwrap()) as usize;
    let rows = (0..count).map(|row| trailer - (count - row) * ROW);
    let section = |at: usize| {
        let start = u64_at(bytes, at + 8);
        let kind = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        (at, kind, start..start + u64_at(bytes, at + 16))
    };
    rows.map(section).collect()
}

/// The bytes of the section of a kind.
pub fn section(bytes: &[u8], wanted: u32) -> Range<usize> {
    table(bytes).into_iter().find(|(_, kind, _)| *kind == wanted).unwrap().2
}

/// Makes all checksums right again, as a writer with a fault would leave them.
pub fn seal(bytes: &mut [u8]) {
    for (row, _, range) in table(bytes) {
        let crc = crc32fast::hash(&bytes[range.start..range.end.next_multiple_of(64)]);
        bytes[row + 4..row + 8].copy_from_slice(&crc.to_le_bytes());
    }
    let first_row = table(bytes).first().unwrap().0;
    let trailer = bytes.len() - TRAILER;
    let head = [&bytes[..64], &bytes[first_row..trailer + 12]].concat();
    bytes[trailer + 12..trailer + 16].copy_from_slice(&crc32fast::hash(&head).to_le_bytes());
}

/// Opens and, if that works, verifies and searches, which must end without a panic.
pub fn examine(bytes: &[u8]) -> Result<(), Error> {
    let work = Work::new();
    let index = work.put("a.l0x", bytes)?;
    let query = vector(&(0..TERMS as u32).map(|term| (term, 1.0)).collect::<Vec<_>>());
    let all = [(Method::Exact, 5), (Method::Exhaustive, 5), (Method::Exact, 2000)];
    for (method, k) in all {
        for hit in search(&index, &query, k, method).unwrap_or_default() {
            let _ = (index.docno(hit.doc), index.text(hit.doc));
        }
    }
    let _ = (index.stats(), index.docno(DocId(u32::MAX)), index.text(DocId(u32::MAX)));
    index.verify()
}

#[track_caller]
fn check(bytes: &[u8], expected: &str) {
    let error = examine(bytes).unwrap_err();
    assert!(error.to_string().contains(expected), "expected `{expected}`, found `{error}`");
    let other = expected.contains("format version: ");
    assert_eq!(matches!(error, Error::Mismatch { .. }), other, "{error}");
}

#[test]
fn what_is_no_index_is_refused() {
    check(b"", "expected an l0 index, found an empty file");
    check(b"{\"_id\":\"d1\"}\n", "expected an l0 index, found something else");
    let mut other = sound(Weights::U8);
    other[8] = 4;
    check(&other, "format version: expected 3, found 4; build it again");
    other[8] = 2;
    check(&other, "format version: expected 3, found 2; build it again");
    other[8] = 0;
    check(&other, "format version 0");
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(Index::open(folder.path()), Err(Error::Io { .. } | Error::Format { .. })));
}

#[test]
fn a_file_that_is_cut_short_or_grew_is_refused() {
    let whole = sound(Weights::U8);
    for length in [8, 63, 64, 87, 88, 1000, whole.len() / 2, whole.len() - 1] {
        check(&whole[..length], "cut short");
    }
    check(&[&whole[..], &[0]].concat(), "cut short");
    check(&[&whole[..], &whole[..]].concat(), "cut short");
}

#[test]
fn a_flipped_byte_is_found_and_its_section_named() {
    let whole = sound(Weights::U8);
    for (_, kind, range) in table(&whole) {
        let name = [
            "tokenizer",
            "query table",
            "texts",
            "text offsets",
            "document ids",
            "document id offsets",
            "postings",
            "terms",
            "metadata",
            "order",
        ][kind as usize - 1];
        for at in [range.start, (range.start + range.end) / 2, range.end - 1] {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x40;
            check(&bytes, &format!("section `{name}` is damaged"));
        }
    }
}

/// Flips so many bytes, one at a time, at equal distances.
fn flip(count: usize) {
    for weights in [Weights::U8, Weights::U6, Weights::F32] {
        let mut bytes = sound(weights);
        let step = bytes.len() / count;
        for at in (0..bytes.len()).step_by(step) {
            bytes[at] ^= 0xff;
            assert!(examine(&bytes).is_err(), "byte {at}");
            bytes[at] ^= 0xff;
        }
        examine(&bytes).unwrap();
    }
}

#[test]
fn a_flipped_byte_is_found_wherever_it_is() {
    flip(100);
}

#[test]
#[ignore = "slow: 1,500 damaged files"]
fn a_flipped_byte_is_found_wherever_it_is_more_often() {
    flip(500);
}

/// Damages so many places of each section, one at a time, under right checksums.
fn damage(places: usize, changes: &[u8]) {
    for weights in [Weights::U8, Weights::U6, Weights::F32] {
        let whole = sound(weights);
        for wanted in [3, 4, 5, 6, 7, 8, 10] {
            let range = section(&whole, wanted);
            for at in range.clone().step_by((range.len() / places).max(1)) {
                for change in changes {
                    let mut bytes = whole.clone();
                    bytes[at] ^= change;
                    seal(&mut bytes);
                    let _ = examine(&bytes);
                }
            }
        }
    }
}

#[test]
fn damage_under_right_checksums_is_no_panic() {
    damage(10, &[0x01, 0xff]);
}

#[test]
#[ignore = "slow: 3,000 damaged files"]
fn much_damage_under_right_checksums_is_no_panic() {
    damage(50, &[0x01, 0x80, 0xff]);
}

/// Changes one section under right checksums.
fn changed(kind: u32, change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut bytes = sound(Weights::U8);
    let range = section(&bytes, kind);
    change(&mut bytes[range]);
    seal(&mut bytes);
    bytes
}

#[test]
fn lies_under_right_checksums_are_found() {
    let damaged = |name: &str, reason: &str| format!("section `{name}` is damaged: {reason}");
    let unlike = "the maxima, the offsets or the bytes in use are not those of its postings";
    // term 0 is in 294 of 300 documents: 5 runs, a word of blocks, 5 maxima, a base, 5 offsets, maps
    let lie = changed(7, |list| list[12] = 9);
    check(&lie, &damaged("postings", &format!("term 0: {unlike}")));
    for (at, value) in [(0, 9), (0, 0), (3, 1), (4, 0xff), (20, 0xff), (22, 0xff), (31, 1)] {
        let lie = changed(7, |list| list[at] = value);
        check(&lie, &damaged("postings", "the list of term 0 cannot be read"));
    }
    let lie = changed(8, |terms| terms[12..16].copy_from_slice(&0.5f32.to_le_bytes()));
    check(&lie, &damaged("postings", "term 0: the largest weights or the count differ"));
    let lie = changed(8, |terms| terms[20] ^= 1);
    check(&lie, &damaged("postings", "term 0: the largest weights or the count differ"));
    let lie = changed(8, |terms| terms[16..20].copy_from_slice(&f32::NAN.to_le_bytes()));
    check(&lie, &damaged("postings", "term 0: place 0 has the weight NaN"));
    let lie = changed(8, |terms| terms[8] ^= 1);
    check(&lie, &damaged("postings", "the list of term 0 cannot be read"));
    let lie = changed(8, |terms| terms[24..32].fill(0xff));
    check(&lie, &damaged("terms", "term 0 has no list"));
    let lie = changed(10, |order| order[0..4].fill(0xff));
    check(&lie, &damaged("order", "place 0 has no document"));
    let lie = changed(10, |order| order.copy_within(0..4, 4));
    check(&lie, &damaged("order", "place 1 has no document of its own"));
    let lie = changed(5, |ids| ids[3] = b'0');
    check(&lie, &damaged("document ids", "documents 0 and 1 are both `d0`"));
    let lie = changed(5, |ids| ids[0] = 0xff);
    check(&lie, &damaged("document ids", "no id for document 0"));
    let lie = changed(6, |offsets| offsets[4..8].fill(0xff));
    check(&lie, &damaged("document ids", "no id for document 0"));
    let lie = changed(4, |offsets| offsets[8..16].fill(0xff));
    check(&lie, &damaged("texts", "block 0 cannot be read"));
    let lie = changed(2, |table| table[4..8].copy_from_slice(&f32::NAN.to_le_bytes()));
    check(&lie, &damaged("query table", "term 1 has the weight NaN"));
    let lie = changed(9, |json| json[0] = b'[');
    check(&lie, "section `metadata`: ");
    let count = |json: &mut [u8]| {
        let at = json.windows(11).position(|text| text == b"\"postings\":").unwrap();
        json[at + 11] = if json[at + 11] == b'9' { b'8' } else { json[at + 11] + 1 };
    };
    check(&changed(9, count), &damaged("terms", "the metadata say"));
    let docs = |json: &mut [u8]| {
        let at = json.windows(7).position(|text| text == b"\"docs\":").unwrap();
        json[at + 7] = b'1';
    };
    check(&changed(9, docs), &damaged("document id offsets", "its length does not fit"));
}

#[test]
fn a_table_of_sections_that_points_outside_is_refused() {
    let mut bytes = sound(Weights::U8);
    let (row, first_row) = (table(&bytes)[6].0, table(&bytes)[0].0);
    bytes[row + 16..row + 24].fill(0xff);
    let trailer = bytes.len() - TRAILER;
    let head = [&bytes[..64], &bytes[first_row..trailer + 12]].concat();
    bytes[trailer + 12..trailer + 16].copy_from_slice(&crc32fast::hash(&head).to_le_bytes());
    check(&bytes, "the table of sections points outside the file");
    bytes[trailer + 8..trailer + 12].fill(0xff);
    check(&bytes, "the table of sections is damaged");
}

//! In how many documents each term occurs, and the text in which vectors carry these counts.
//!
//! The text is a JSON object: `format` (1), `vocabulary` (its fingerprint), `documents`, and `frequencies`: a
//! LEB128 number per term in the order of ids, compressed by zstd with a checksum, in base64. For 30,522
//! terms that is below 90 kB for any collection.

use std::io::Read;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use super::{Vocabulary, inverse_document_frequency};
use crate::{
    error::{Error, Result},
    sparse::TermId,
};

/// The version of the text; readers refuse others.
const FORMAT: u32 = 1;
/// The longest LEB128 number of 64 bits.
const NUMBER_BYTES: u64 = 10;
const LEVEL: i32 = 3;

/// In how many documents each term occurs.
#[derive(Clone, Debug, PartialEq)]
pub struct DocumentFrequencies {
    vocabulary: String,
    documents: u64,
    frequencies: Vec<u64>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    format: u32,
    #[serde(default)]
    vocabulary: String,
    #[serde(default)]
    documents: u64,
    #[serde(default)]
    frequencies: String,
}

impl DocumentFrequencies {
    /// All counts 0.
    pub fn new(vocabulary: &Vocabulary) -> DocumentFrequencies {
        DocumentFrequencies {
            vocabulary: vocabulary.fingerprint().to_owned(),
            documents: 0,
            frequencies: vec![0; vocabulary.len()],
        }
    }

    /// Counts a document by its distinct terms.
    pub fn add(&mut self, distinct: impl IntoIterator<Item = u32>) {
        self.documents += 1;
        for term in distinct {
            self.frequencies[term as usize] += 1;
        }
    }

    /// Adds the counts of other documents.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if they are of another vocabulary.
    pub fn merge(&mut self, other: &DocumentFrequencies) -> Result<()> {
        check_vocabulary("document frequencies", &self.vocabulary, &other.vocabulary)?;
        // both saturate, so that a document frequency never exceeds the number of documents
        self.documents = self.documents.saturating_add(other.documents);
        for (sum, &more) in self.frequencies.iter_mut().zip(&other.frequencies) {
            *sum = sum.saturating_add(more);
        }
        Ok(())
    }

    /// Documents, including empty ones.
    pub fn documents(&self) -> u64 {
        self.documents
    }

    /// By term id, `[V]`.
    pub fn frequencies(&self) -> &[u64] {
        &self.frequencies
    }

    /// ln(1 + (N − df + ½) / (df + ½)); largest for a term that no document has.
    pub fn weight(&self, term: TermId) -> f32 {
        inverse_document_frequency(self.documents, self.frequencies[term.index()])
    }

    /// The counts as text, in the form of the module's description.
    ///
    /// # Errors
    /// [`Error::Io`] if they cannot be compressed.
    pub fn to_text(&self) -> Result<String> {
        let failed = |source| Error::io("document frequencies", source);
        let mut numbers = Vec::with_capacity(2 * self.frequencies.len());
        self.frequencies.iter().for_each(|&count| put(count, &mut numbers));
        let mut compressor = zstd::bulk::Compressor::new(LEVEL).map_err(failed)?;
        compressor.include_checksum(true).map_err(failed)?;
        let stored = Stored {
            format: FORMAT,
            vocabulary: self.vocabulary.clone(),
            documents: self.documents,
            frequencies: STANDARD.encode(compressor.compress(&numbers).map_err(failed)?),
        };
        serde_json::to_string(&stored).map_err(|error| failed(error.into()))
    }

    /// Reads the text that `file` carries, which must count `terms` terms of `vocabulary` (a fingerprint).
    ///
    /// # Errors
    /// [`Error::Mismatch`] for another format version or vocabulary; [`Error::Format`] if it is damaged.
    pub fn from_text(
        file: &str,
        text: &str,
        vocabulary: &str,
        terms: usize,
    ) -> Result<DocumentFrequencies> {
        let bad = |found: String| {
            let expected = "document frequencies as l0-encode writes them";
            let remedy = "encode the documents again";
            Error::format(file, format!("expected {expected}, found {found} (damaged); {remedy}"))
        };
        let stored: Stored = serde_json::from_str(text).map_err(|error| bad(error.to_string()))?;
        if stored.format != FORMAT {
            return Err(Error::Mismatch {
                what: format!("{file}: format of the document frequencies"),
                expected: FORMAT.to_string(),
                got: stored.format.to_string(),
                remedy: "encode again with this version, or read it with the one that wrote it"
                    .into(),
            });
        }
        let what = format!("{file}: vocabulary of the document frequencies");
        check_vocabulary(&what, vocabulary, &stored.vocabulary)?;
        let packed =
            STANDARD.decode(&stored.frequencies).map_err(|error| bad(error.to_string()))?;
        let numbers = unpacked(&packed, terms).map_err(|error| bad(error.to_string()))?;
        let mut rest = &numbers[..];
        let mut frequencies = Vec::new();
        while !rest.is_empty() {
            let count = take(&mut rest).ok_or_else(|| bad("a number that ends too late".into()))?;
            if count > stored.documents {
                let documents = stored.documents;
                return Err(bad(format!("a term in {count} of {documents} documents")));
            }
            frequencies.push(count);
        }
        if frequencies.len() != terms {
            return Err(bad(format!("{} terms where there are {terms}", frequencies.len())));
        }
        Ok(DocumentFrequencies {
            vocabulary: stored.vocabulary,
            documents: stored.documents,
            frequencies,
        })
    }
}

fn check_vocabulary(what: &str, expected: &str, found: &str) -> Result<()> {
    if expected == found {
        return Ok(());
    }
    Err(Error::Mismatch {
        what: what.to_owned(),
        expected: expected.to_owned(),
        got: found.to_owned(),
        remedy: "use vectors and counts of one tokenizer".into(),
    })
}

/// Decompresses, but no more than `terms` numbers can take.
fn unpacked(packed: &[u8], terms: usize) -> std::io::Result<Vec<u8>> {
    let mut numbers = Vec::new();
    let most = NUMBER_BYTES.saturating_mul(terms as u64);
    // one byte more, so that the end of the frame, with its checksum, is reached
    let mut reader = zstd::Decoder::with_buffer(packed)?.take(most.saturating_add(1));
    reader.read_to_end(&mut numbers)?;
    Ok(numbers)
}

/// A number in LEB128: seven bits per byte, the lowest first; the top bit is set if more follow.
fn put(mut number: u64, bytes: &mut Vec<u8>) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Takes the number at the beginning of `bytes` off; `None` if it does not end or is too large.
fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let bits = u64::from(byte & 0x7f);
        if bits << shift >> shift != bits {
            return None;
        }
        number |= bits << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vocabulary(terms: usize) -> Vocabulary {
        Vocabulary::new((0..terms).map(|term| format!("t{term}")).collect())
    }

    fn counted(documents: u64, frequencies: &[u64]) -> DocumentFrequencies {
        let vocabulary = vocabulary(frequencies.len()).fingerprint().to_owned();
        DocumentFrequencies { vocabulary, documents, frequencies: frequencies.to_vec() }
    }

    fn read(text: &str, terms: usize) -> Result<DocumentFrequencies> {
        DocumentFrequencies::from_text("v", text, vocabulary(terms).fingerprint(), terms)
    }

    #[test]
    fn counts_are_read_back() {
        for (documents, frequencies) in [
            (0, &[][..]),
            (3, &[0, 1, 2, 3]),
            (u64::MAX, &[u64::MAX, 127, 128, 1 << 63, (1 << 35) - 1]),
        ] {
            let counted = counted(documents, frequencies);
            let text = counted.to_text().unwrap();
            assert_eq!(read(&text, frequencies.len()).unwrap(), counted);
        }
    }

    /// Counts as those of MS MARCO (a Zipf law over 8.8 million passages) with noise that no compressor
    /// takes out.
    #[test]
    fn counts_of_a_large_collection_are_small() {
        let noise = |term: u64| term.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        let count =
            |term: u64| (8_841_823 / (term + 1)).max(1) * (1000 + noise(term) % 1000) / 2000;
        let frequencies: Vec<u64> = (0..30_522).map(count).collect();
        let text = counted(8_841_823, &frequencies).to_text().unwrap();
        assert!(text.len() < 90_000, "{}", text.len());
        assert!(counted(9, &[1; 30_522]).to_text().unwrap().len() < 500);
    }

    #[test]
    fn parts_add_up() {
        let vocabulary = vocabulary(3);
        let [mut first, mut second, mut both] =
            [(); 3].map(|()| DocumentFrequencies::new(&vocabulary));
        first.add([0, 2]);
        second.add([2]);
        second.add([]);
        for document in [&[0, 2][..], &[2], &[]] {
            both.add(document.iter().copied());
        }
        first.merge(&second).unwrap();
        assert_eq!(first, both);
        assert_eq!((both.documents(), both.frequencies()), (3, &[1, 0, 2][..]));
        let other = DocumentFrequencies::new(&self::vocabulary(4));
        assert!(matches!(first.merge(&other), Err(Error::Mismatch { .. })));
    }

    #[test]
    fn broken_counts_are_refused() {
        let good = counted(5, &[0, 5, 0, 1]).to_text().unwrap();
        let with = |key: &str, value: serde_json::Value| {
            let mut stored: serde_json::Value = serde_json::from_str(&good).unwrap();
            stored[key] = value;
            stored.to_string()
        };
        let packed = |numbers: &[u8]| {
            with(
                "frequencies",
                STANDARD.encode(zstd::bulk::compress(numbers, LEVEL).unwrap()).into(),
            )
        };
        assert!(read(&packed(&[0, 5, 0, 1]), 4).is_ok());
        for (text, found) in [
            (String::new(), "EOF"),
            ("[]".into(), "invalid length"),
            (good[..good.len() - 9].into(), "EOF"),
            (with("format", 2.into()), "format of the document frequencies: expected 1, found 2"),
            (with("vocabulary", "beef".into()), "found beef"),
            (with("documents", 4.into()), "a term in 5 of 4 documents"),
            (with("documents", (-1).into()), "invalid value"),
            (with("frequencies", "%".into()), "Invalid"),
            (with("frequencies", "AAAA".into()), "found "),
            (with("frequencies", "".into()), "incomplete frame"),
            (packed(&[]), "0 terms where there are 4"),
            (packed(&[0, 5, 0]), "3 terms where there are 4"),
            (packed(&[0, 5, 0, 1, 1]), "5 terms where there are 4"),
            (packed(&[0; 1 << 20]), "41 terms where there are 4"),
            (packed(&[0, 5, 0, 0x81]), "a number that ends too late"),
            (packed(&[[0xff; 10].as_slice(), &[1]].concat()), "a number that ends too late"),
            (
                packed(&[[0xff; 9].as_slice(), &[2, 0, 0, 0]].concat()),
                "a number that ends too late",
            ),
        ] {
            let error = read(&text, 4).unwrap_err().to_string();
            assert!(error.starts_with("v: ") && error.contains(found), "{text}: {error}");
        }
    }

    /// One bit, anywhere in the compressed numbers: the checksum finds it.
    #[test]
    fn a_flipped_bit_is_found() {
        let good = counted(900, &(0..300).map(|term| term * 7 % 901).collect::<Vec<_>>());
        let mut stored: Stored = serde_json::from_str(&good.to_text().unwrap()).unwrap();
        let packed = STANDARD.decode(&stored.frequencies).unwrap();
        for bit in 0..8 * packed.len() {
            let mut bad = packed.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            stored.frequencies = STANDARD.encode(bad);
            let read = read(&serde_json::to_string(&stored).unwrap(), 300);
            assert!(read.as_ref().map_or(true, |read| *read == good), "bit {bit}: {read:?}");
        }
    }
}

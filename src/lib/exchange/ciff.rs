//! The Common Index File Format: messages of protobuf, each after its length: a header, the posting
//! lists, the documents.
//!
//! | message | fields (number) |
//! |---|---|
//! | header | version (1), posting lists (2), documents (3), of the whole collection: posting lists (4), documents (5), terms (6); mean length (7), description (8) |
//! | posting list | term (1), df (2), cf (3), postings (4): gap of documents (1), impact (2) |
//! | document | number (1), id (2), length: the sum of its impacts (3) |
//!
//! A posting's document is written as the difference from the one before. Source:
//! `docs/formats.md`, "CIFF".

use std::io::{self, Read, Write};

use prost::Message;

use crate::error::{Error, Result};

/// The first message.
#[derive(Clone, PartialEq, Message)]
pub struct Header {
    /// 1.
    #[prost(int32, tag = "1")]
    pub version: i32,
    /// Posting lists that follow.
    #[prost(int32, tag = "2")]
    pub num_postings_lists: i32,
    /// Documents that follow them.
    #[prost(int32, tag = "3")]
    pub num_docs: i32,
    /// Posting lists of the whole collection.
    #[prost(int32, tag = "4")]
    pub total_postings_lists: i32,
    /// Documents of the whole collection.
    #[prost(int32, tag = "5")]
    pub total_docs: i32,
    /// Sum of all impacts.
    #[prost(int64, tag = "6")]
    pub total_terms_in_collection: i64,
    /// Mean sum of a document's impacts.
    #[prost(double, tag = "7")]
    pub average_doclength: f64,
    /// For people.
    #[prost(string, tag = "8")]
    pub description: String,
}

/// One posting.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Posting {
    /// Difference from the document before, from 0 for the first.
    #[prost(int32, tag = "1")]
    pub gap: i32,
    /// The impact, at least 1.
    #[prost(int32, tag = "2")]
    pub impact: i32,
}

/// The postings of a term.
#[derive(Clone, PartialEq, Message)]
pub struct PostingsList {
    /// Its token.
    #[prost(string, tag = "1")]
    pub term: String,
    /// Documents that have it.
    #[prost(int64, tag = "2")]
    pub df: i64,
    /// Sum of its impacts.
    #[prost(int64, tag = "3")]
    pub cf: i64,
    /// The postings.
    #[prost(message, repeated, tag = "4")]
    pub postings: Vec<Posting>,
}

/// A document.
#[derive(Clone, PartialEq, Message)]
pub struct DocRecord {
    /// Its number, from 0.
    #[prost(int32, tag = "1")]
    pub docid: i32,
    /// Its id.
    #[prost(string, tag = "2")]
    pub collection_docid: String,
    /// Sum of its impacts.
    #[prost(int32, tag = "3")]
    pub doclength: i32,
}

/// Writes a message after its length.
///
/// # Errors
/// What writing says.
pub fn write(out: &mut impl Write, message: &impl Message) -> io::Result<()> {
    out.write_all(&message.encode_length_delimited_to_vec())
}

/// The posting list of `token`: documents ascend, impacts are at least 1.
pub fn list(token: &str, postings: &[(u32, u32)]) -> PostingsList {
    let mut before = 0;
    let mut found = Vec::with_capacity(postings.len());
    for &(doc, impact) in postings {
        // an index has fewer than 2³¹ documents, and no impact is above i32::MAX
        found.push(Posting { gap: (doc - before) as i32, impact: impact as i32 });
        before = doc;
    }
    let cf = postings.iter().map(|&(_, impact)| i64::from(impact)).sum();
    PostingsList { term: token.to_owned(), df: found.len() as i64, cf, postings: found }
}

/// An upper bound, so that a wrong length is an error and not a huge allocation.
const MOST_BYTES: u64 = 1 << 31;

/// Messages of an input, one after the other.
pub struct Messages<R> {
    name: String,
    input: R,
    read: u64,
}

impl<R: Read> Messages<R> {
    /// Reads an input that messages call `name`.
    pub fn new(name: &str, input: R) -> Messages<R> {
        Messages { name: name.to_owned(), input, read: 0 }
    }

    /// The next message; `what` it should be is for the error.
    ///
    /// # Errors
    /// [`Error::Format`], with the message's number from 1, if the input ends or is not a message.
    pub fn next<M: Message + Default>(&mut self, what: &str) -> Result<M> {
        self.read += 1;
        let number = self.read;
        let bad = |name: &str, found: String| {
            Error::format(name, format!("CIFF message {number}: expected {what}, found {found}"))
        };
        let length = self.length().map_err(|found| bad(&self.name, found))?;
        let mut bytes = Vec::new();
        let got = (&mut self.input).take(length).read_to_end(&mut bytes);
        let got = got.map_err(|source| Error::io(&self.name, source))?;
        if got as u64 != length {
            return Err(bad(&self.name, format!("the end after {got} of {length} bytes")));
        }
        M::decode(bytes.as_slice())
            .map_err(|error| bad(&self.name, format!("no such message: {error}")))
    }

    /// Checks that nothing follows.
    ///
    /// # Errors
    /// [`Error::Format`] if something does.
    pub fn end(&mut self) -> Result<()> {
        match self.input.read(&mut [0]) {
            Ok(0) => Ok(()),
            Ok(_) => Err(Error::format(
                &self.name,
                "expected the end behind the documents that the header counts, found more",
            )),
            Err(source) => Err(Error::io(&self.name, source)),
        }
    }

    fn length(&mut self) -> Result<u64, String> {
        let mut length = 0u64;
        for shift in (0..35).step_by(7) {
            let mut byte = [0];
            match self.input.read_exact(&mut byte) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err("the end of the file".into());
                }
                Err(error) => return Err(error.to_string()),
            }
            length |= u64::from(byte[0] & 0x7f) << shift;
            if byte[0] < 0x80 {
                return if length <= MOST_BYTES {
                    Ok(length)
                } else {
                    Err(format!("{length} bytes"))
                };
            }
        }
        Err("no length".into())
    }
}

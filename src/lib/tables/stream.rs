//! What follows the rows of a table: whether an Arrow stream ends as it should, and the document
//! frequencies.
//!
//! The frequencies are known when all rows were written. In Parquet they are a key-value pair of the
//! footer. An Arrow stream has no footer; there they are the custom metadata, which Arrow's format gives
//! every message, of one more record batch without rows: any reader sees it as no rows.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, Read, Write},
    sync::{Arc, OnceLock},
};

use arrow_array::RecordBatch;
use arrow_ipc::{
    MessageBuilder, MessageHeader, RecordBatchBuilder,
    convert::metadata_to_fb,
    reader::StreamReader,
    root_as_message,
    writer::{
        DictionaryTracker, EncodedData, IpcDataGenerator, IpcWriteContext, IpcWriteOptions,
        write_message,
    },
};
use arrow_schema::{ArrowError, Metadata, SchemaRef};
use flatbuffers::FlatBufferBuilder;

use crate::error::{Error, Result};

/// The key of the document frequencies.
pub const DOCUMENT_FREQUENCIES: &str = "l0.document_frequencies";

/// What follows the rows of a file. Of an Arrow stream it is known when the last row was read, of other
/// files at once.
#[derive(Clone, Debug, Default)]
pub struct Ending(Arc<OnceLock<String>>);

impl Ending {
    /// Of a file whose pairs are all at hand.
    pub fn of(metadata: &BTreeMap<String, String>) -> Ending {
        let found = metadata.get(DOCUMENT_FREQUENCIES).cloned();
        Ending(Arc::new(found.map(OnceLock::from).unwrap_or_default()))
    }

    /// The document frequencies as text, if the file has them.
    pub fn document_frequencies(&self) -> Option<&str> {
        self.0.get().map(String::as_str)
    }
}

/// Writes a record batch without rows whose message carries the document frequencies.
///
/// # Errors
/// What the output says.
pub fn write_ending(
    output: &mut impl Write,
    schema: &SchemaRef,
    document_frequencies: &str,
) -> Result<(), ArrowError> {
    let options = IpcWriteOptions::default();
    let (_, EncodedData { ipc_message, arrow_data }) = IpcDataGenerator::default().encode(
        &RecordBatch::new_empty(Arc::clone(schema)),
        &mut DictionaryTracker::new(false),
        &options,
        &mut IpcWriteContext::default(),
    )?;
    let bad = || ArrowError::IpcError("no record batch in its own message".into());
    let plain = root_as_message(&ipc_message).map_err(|_| bad())?;
    let batch = plain.header_as_record_batch().ok_or_else(bad)?;
    // the library has no call for the metadata of a message, so the message is built again
    let mut builder = FlatBufferBuilder::new();
    let pair = [(DOCUMENT_FREQUENCIES.to_owned(), document_frequencies.to_owned())];
    let pairs = metadata_to_fb(&mut builder, &Metadata::from_iter(pair));
    let nodes: Vec<_> = batch.nodes().into_iter().flatten().copied().collect();
    let buffers: Vec<_> = batch.buffers().into_iter().flatten().copied().collect();
    let (nodes, buffers) = (builder.create_vector(&nodes), builder.create_vector(&buffers));
    let mut empty = RecordBatchBuilder::new(&mut builder);
    empty.add_length(0);
    empty.add_nodes(nodes);
    empty.add_buffers(buffers);
    let empty = empty.finish();
    let mut message = MessageBuilder::new(&mut builder);
    message.add_version(plain.version());
    message.add_header_type(MessageHeader::RecordBatch);
    message.add_bodyLength(plain.bodyLength());
    message.add_header(empty.as_union_value());
    message.add_custom_metadata(pairs);
    let message = message.finish();
    builder.finish(message, None);
    let encoded = EncodedData { ipc_message: builder.finished_data().to_vec(), arrow_data };
    write_message(output, encoded, &options).map(drop)
}

/// The bytes of an Arrow stream on their way to its decoder, which does not hand on what messages carry
/// in addition to columns.
pub struct Messages {
    reader: Box<dyn BufRead + Send>,
    next: Next,
    /// The bytes so far of a prefix or a message.
    held: Vec<u8>,
    ending: Ending,
}

/// What the next bytes are.
enum Next {
    /// The rest of eight bytes: four of 0xff and the length of a message, 0 at the end.
    Prefix,
    /// The rest of a message of this length.
    Message(usize),
    /// A body of this length.
    Body(u64),
    /// What follows the end.
    Ended,
    /// Unknown: another framing, or damage, which the decoder reports.
    Unknown,
}

impl Messages {
    pub fn new(reader: Box<dyn BufRead + Send>) -> Messages {
        Messages { reader, next: Next::Prefix, held: Vec::new(), ending: Ending::default() }
    }

    /// What the stream will have carried after its rows.
    pub fn ending(&self) -> Ending {
        self.ending.clone()
    }

    fn follow(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let left = match self.next {
                Next::Prefix => 8 - self.held.len() as u64,
                Next::Message(length) => (length - self.held.len()) as u64,
                Next::Body(left) => left,
                Next::Ended | Next::Unknown => return,
            };
            let count = left.min(bytes.len() as u64);
            let (now, rest) = bytes.split_at(count as usize);
            bytes = rest;
            match self.next {
                Next::Body(_) if count == left => self.next = Next::Prefix,
                Next::Body(_) => self.next = Next::Body(left - count),
                _ => {
                    self.held.extend_from_slice(now);
                    if count == left {
                        self.next = self.after();
                        self.held.clear();
                    }
                }
            }
        }
    }

    /// What follows the prefix or the message that is held.
    fn after(&self) -> Next {
        if let Next::Message(_) = self.next {
            let Ok(message) = root_as_message(&self.held) else { return Next::Unknown };
            for pair in message.custom_metadata().into_iter().flatten() {
                if let (Some(DOCUMENT_FREQUENCIES), Some(text)) = (pair.key(), pair.value()) {
                    self.ending.0.get_or_init(|| text.to_owned());
                }
            }
            return u64::try_from(message.bodyLength()).map_or(Next::Unknown, Next::Body);
        }
        match self.held[..] {
            [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0] => Next::Ended,
            [0xff, 0xff, 0xff, 0xff, a, b, c, d] => {
                let length = i32::from_le_bytes([a, b, c, d]);
                usize::try_from(length).map_or(Next::Unknown, Next::Message)
            }
            _ => Next::Unknown,
        }
    }
}

impl Read for Messages {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.follow(&buffer[..count]);
        Ok(count)
    }
}

/// Whether a stream ended as it should. Arrow lets a writer just stop; l0's never does unless it
/// failed, so that half of its rows are not taken for all of them.
///
/// # Errors
/// [`Error::Format`] if it did not, or if more follows.
pub fn check_end(name: &str, reader: &mut StreamReader<Messages>) -> Result<()> {
    let ours = reader.schema().metadata().contains_key("l0.format");
    let messages = reader.get_mut();
    if ours && !matches!(messages.next, Next::Ended) {
        let reason = "the stream is cut short: the program that wrote it failed or was stopped";
        return Err(Error::format(name, reason));
    }
    let behind = messages.reader.fill_buf().map_err(|source| Error::io(name, source))?;
    if behind.is_empty() {
        return Ok(());
    }
    let reason = "expected the end behind an Arrow stream, found more bytes; name several files instead \
                  of joining them";
    Err(Error::format(name, reason))
}

#[cfg(test)]
mod tests {
    use arrow_array::{ArrayRef, Int32Array, ListArray, StringArray, types::Int32Type};
    use arrow_ipc::writer::StreamWriter;

    use super::*;

    /// Gives a few bytes a time, as a pipe may.
    struct Drops(io::Cursor<Vec<u8>>, usize);

    impl Read for Drops {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(buffer.len());
            self.0.read(&mut buffer[..count])
        }
    }

    fn batch() -> RecordBatch {
        let lists = [Some(vec![Some(1), Some(2)]), Some(vec![])];
        let columns: [(&str, ArrayRef); 3] = [
            ("id", Arc::new(StringArray::from(vec!["a", "b"]))),
            ("list", Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(lists))),
            ("number", Arc::new(Int32Array::from(vec![Some(7), None]))),
        ];
        RecordBatch::try_from_iter(columns).unwrap()
    }

    fn stream(batches: usize, text: Option<&str>) -> Vec<u8> {
        let batch = batch();
        let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
        (0..batches).for_each(|_| writer.write(&batch).unwrap());
        if let Some(text) = text {
            write_ending(writer.get_mut(), &batch.schema(), text).unwrap();
        }
        writer.into_inner().unwrap()
    }

    fn read(bytes: Vec<u8>, drop: usize) -> Result<(usize, Ending), ArrowError> {
        let messages =
            Messages::new(Box::new(io::BufReader::new(Drops(io::Cursor::new(bytes), drop))));
        let ending = messages.ending();
        let mut reader = StreamReader::try_new(messages, None)?;
        let mut rows = 0;
        for read in reader.by_ref() {
            let read = read?;
            assert!(read.num_rows() == 0 || read == batch());
            rows += read.num_rows();
        }
        assert!(matches!(reader.get_ref().next, Next::Ended));
        Ok((rows, ending))
    }

    #[test]
    fn what_follows_the_rows_is_seen_and_is_no_row() {
        let long = "x".repeat(100_000);
        for (batches, text) in [(0, Some("{}")), (3, Some("{}")), (2, Some(&long)), (2, None)] {
            for drop in [1, 7, 8192] {
                let (rows, ending) = read(stream(batches, text), drop).unwrap();
                assert_eq!(rows, 2 * batches);
                assert_eq!(ending.document_frequencies(), text);
            }
        }
    }

    #[test]
    fn a_stream_that_is_cut_has_no_ending() {
        let whole = stream(1, Some("{}"));
        let plain = stream(1, None).len() - 8;
        let cuts = [0, 4, 8, 100].map(|more| (plain + more, None));
        for (length, text) in cuts.into_iter().chain([(whole.len() - 9, Some("{}"))]) {
            let bytes = whole[..length].to_vec();
            let messages = Messages::new(Box::new(io::Cursor::new(bytes)));
            let ending = messages.ending();
            let mut reader = StreamReader::try_new(messages, None).unwrap();
            while let Some(Ok(_)) = reader.next() {}
            assert!(!matches!(reader.get_ref().next, Next::Ended), "{length}");
            assert_eq!(ending.document_frequencies(), text, "{length}");
        }
    }
}

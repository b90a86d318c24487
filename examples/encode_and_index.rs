//! Encodes documents with the shipped model and writes an index that stores their texts.
//!
//!     cargo run --example encode_and_index -- testdata/demo/corpus.jsonl demo.l0x

use std::env;

use l0::{IndexWriter, Model, Record, Result};

fn main() -> Result<()> {
    let (Some(corpus), Some(output)) = (env::args().nth(1), env::args().nth(2)) else {
        eprintln!("usage: encode_and_index CORPUS INDEX");
        std::process::exit(2);
    };
    let model = Model::shipped()?;
    let mut index = IndexWriter::create(output, &model)?;
    let mut records = l0::read_records(corpus)?;
    loop {
        let batch: Vec<Record> = records.by_ref().take(1024).collect::<Result<_>>()?;
        if batch.is_empty() {
            break;
        }
        let texts: Vec<String> = batch.iter().map(Record::content).collect();
        for (record, vector) in batch.iter().zip(model.encode_batch(&texts)?) {
            index.add_with_text(&record.id, &vector, &record.title, &record.text)?;
        }
    }
    println!("{} documents", index.len());
    index.finish()
}

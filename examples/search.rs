//! Answers questions from an index: one per line of standard input.
//!
//!     cargo run --example encode_and_index -- testdata/demo/corpus.jsonl demo.l0x
//!     echo 'how do bees find flowers' | cargo run --example search -- demo.l0x

use std::{env, error::Error, io};

use l0::Searcher;

fn main() -> Result<(), Box<dyn Error>> {
    let path = env::args().nth(1).ok_or("usage: search INDEX < QUESTIONS")?;
    let searcher = Searcher::open(path)?;
    for question in io::stdin().lines() {
        for hit in searcher.search(&question?, 3)? {
            let title = searcher.text(hit.doc)?.map(|stored| stored.title);
            println!("{:.4}\t{}\t{}", hit.score, hit.id, title.unwrap_or_default());
        }
    }
    Ok(())
}

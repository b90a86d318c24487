//! Trains a model as a recipe says, then measures it on the judged queries of a folder in BEIR's layout.
//!
//!     cargo run --example train -- testdata/demo/recipe.toml testdata/demo trained

use std::{env, error::Error};

use l0::{IndexWriter, Qrels, Run, Searcher};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [recipe, data, output] = arguments.as_slice() else {
        return Err("usage: train RECIPE DATA OUTPUT".into());
    };
    let model = l0::train(recipe, &["stage.0.steps=20"], output)?;
    let index = format!("{output}/corpus.l0x");
    let mut writer = IndexWriter::create(&index, &model)?;
    for record in l0::read_records(format!("{data}/corpus.jsonl"))? {
        let record = record?;
        writer.add(&record.id, &model.encode(&record.content())?)?;
    }
    writer.finish()?;
    let (searcher, mut run) = (Searcher::open(&index)?, Run::new());
    for record in l0::read_records(format!("{data}/queries.jsonl"))? {
        let record = record?;
        let hits = searcher.search_vector(&model.encode_query(&record.text)?, 100)?;
        run.insert(&record.id, hits.iter().map(|hit| (&hit.id, f64::from(hit.score))))?;
    }
    let qrels = Qrels::open(format!("{data}/qrels/test.tsv"))?;
    println!("nDCG@10 {:.4}", l0::evaluate(&qrels, &run, &["nDCG@10"])?[0]);
    Ok(())
}

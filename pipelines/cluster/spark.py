#!/usr/bin/env python3
"""Encodes documents on a Spark cluster: one l0-encode next to each running task.

    spark-submit pipelines/cluster/spark.py corpus.jsonl vectors.parquet --partitions 64
    spark-submit pipelines/cluster/spark.py corpus.jsonl vectors.jsonl --partitions 64 --pipe

Without --pipe a DataFrame (id, title, text) becomes a DataFrame of vectors by mapInArrow: JSON lines go
to the program's standard input, an Arrow stream comes back, and nothing passes through Python objects
but the texts. With --pipe the lines of the file themselves go through the program by RDD.pipe.

Each worker needs l0-encode on its PATH (or --program), pyarrow, and for another model than the shipped
one its folder (--options "--model DIR"). A worker's tasks share its cores: --options "--threads 1" where
spark.task.cpus is 1. Spark's own files lack l0's metadata, so that l0-index wants --model or --tokenizer.

As a library: from spark import encode; encode(frame, ["l0-encode", "--quiet"]).
"""
import argparse
import json
import os
import queue
import shlex
import subprocess
import threading

SCHEMA = "id string, indices array<int>, values array<float>, n_tokens int, truncated boolean"


def rows_of(batches, command):
    """The batches of (id, title, text, row) as batches of vectors with the same rows."""
    import pyarrow as pa

    child = subprocess.Popen(
        [*command, "--format", "arrow"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    numbers, failed, cut = queue.SimpleQueue(), [], None

    def feed():
        try:
            with child.stdin as pipe:
                for batch in batches:
                    numbers.put(batch.column("row"))
                    columns = [batch.column(name).to_pylist() for name in ("id", "title", "text")]
                    for key, title, text in zip(*columns):
                        line = {"_id": key, "title": title or "", "text": text or ""}
                        pipe.write(json.dumps(line).encode() + b"\n")
        except BrokenPipeError:
            pass  # the program ended early, and says why
        except BaseException as error:  # raised below, where Spark sees it
            failed.append(error)
            child.kill()

    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        ahead = pa.chunked_array([], pa.int64())
        try:
            for batch in pa.ipc.open_stream(child.stdout):
                # a text was fed before its vector came back
                while len(ahead) < batch.num_rows:
                    ahead = pa.chunked_array([*ahead.chunks, numbers.get()])
                row = ahead.slice(0, batch.num_rows).combine_chunks()
                ahead = ahead.slice(batch.num_rows)
                yield pa.RecordBatch.from_arrays(
                    [*batch.columns[:5], row], [*batch.schema.names[:5], "row"]
                )
        except pa.ArrowInvalid as error:  # a stream that is cut short: what cut it is told first
            cut = error
        feeder.join()
        status = child.wait()
        if failed:  # then the program was killed, and its status says nothing
            raise failed[0]
        if status != 0:
            raise RuntimeError(f"{shlex.join(command)} ended with status {status}; see the worker's stderr")
        if cut:
            raise cut
        if len(ahead) or not numbers.empty():
            raise RuntimeError("some documents were refused; want none, as rows are matched by their order")
    finally:
        child.kill()
        child.stdout.close()
        child.wait()


def encode(frame, command):
    """A DataFrame with the columns id, title and text as vectors: SCHEMA and `row`, which orders them
    as the documents were ordered."""
    from pyspark.sql.functions import monotonically_increasing_id

    documents = frame.select("id", "title", "text").withColumn("row", monotonically_increasing_id())
    return documents.mapInArrow(lambda batches: rows_of(batches, command), SCHEMA + ", row long")


def run(session, corpus, output, partitions, command, pipe):
    """Encodes a file of JSON lines into a folder, in `partitions` tasks or a few more."""
    context = session.sparkContext
    if pipe:
        lines = context.textFile(corpus, partitions)
        path = {"PATH": os.environ["PATH"]}  # RDD.pipe starts programs in an empty environment
        piped = lines.pipe(shlex.join([*command, "--format", "jsonl"]), path, checkCode=True)
        piped.saveAsTextFile(output)
        return
    # a split has this many bytes of the file
    file = context._jvm.org.apache.hadoop.fs.Path(corpus)
    folder = file.getFileSystem(context._jsc.hadoopConfiguration())
    size = folder.getContentSummary(file).getLength()
    session.conf.set("spark.sql.files.maxPartitionBytes", size // partitions + 1)
    session.conf.set("spark.sql.files.openCostInBytes", 0)
    documents = session.read.schema("_id string, title string, text string").json(corpus)
    vectors = encode(documents.withColumnRenamed("_id", "id"), command)
    vectors.write.parquet(output, compression="zstd")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", help="JSON lines {_id, title, text}")
    parser.add_argument("output", help="a folder that Spark makes")
    parser.add_argument("--partitions", type=int, default=8, help="tasks [8]")
    parser.add_argument("--program", default="l0-encode", help="the program on the workers")
    parser.add_argument("--options", default="", help="more arguments for it, in one word")
    parser.add_argument("--pipe", action="store_true", help="RDD.pipe: lines in, lines out")
    args = parser.parse_args()

    from pyspark.sql import SparkSession

    session = SparkSession.builder.appName("l0-encode").getOrCreate()
    command = [args.program, "--quiet", *shlex.split(args.options)]
    run(session, args.corpus, args.output, args.partitions, command, args.pipe)
    session.stop()


if __name__ == "__main__":
    main()

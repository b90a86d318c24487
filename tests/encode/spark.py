"""Both ways of pipelines/cluster/spark.py on local[2], against one run: spark.py CORPUS ONE.parquet MODEL.

Writes spark.parquet/ and spark.jsonl/; exit 77 if Spark or Java is not there.
"""
import os
import sys

corpus, one, model, script = sys.argv[1:]
try:
    import pyarrow
    import pyarrow.parquet as parquet
    import pyspark
    from pyspark.sql import SparkSession
except ImportError as error:
    print(error, file=sys.stderr)
    sys.exit(77)

os.environ["PYSPARK_PYTHON"] = sys.executable  # the workers' Python is this one
sys.path.insert(0, os.path.dirname(script))
import spark

try:
    quiet = {"spark.ui.enabled": "false", "spark.driver.bindAddress": "127.0.0.1",
             "spark.driver.host": "127.0.0.1"}
    builder = SparkSession.builder.master("local[2]")
    for key, value in quiet.items():
        builder = builder.config(key, value)
    session = builder.getOrCreate()
except Exception as error:  # no Java, or one that this Spark does not know
    print(str(error).splitlines()[0], file=sys.stderr)
    sys.exit(77)

session.sparkContext.addPyFile(script)
command = ["l0-encode", "--quiet", "--threads", "1", "--model", model]
spark.run(session, corpus, "spark.parquet", 3, command, pipe=False)
spark.run(session, corpus, "spark.jsonl", 3, command, pipe=True)

made = parquet.read_table("spark.parquet").sort_by("row").combine_chunks()
whole = parquet.read_table(one).combine_chunks()
assert made.num_rows == whole.num_rows, (made.num_rows, whole.num_rows)
for name in whole.schema.names:
    assert made[name].to_pylist() == whole[name].to_pylist(), f"{name} differs"
assert len(parquet.ParquetDataset("spark.parquet").files) >= 3, "want several parts"

# a document that the program refuses is a failure of the job, not a row less
frame = session.createDataFrame([("a", "", "text"), (None, "", "text")], "id string, title string, text string")
try:
    spark.encode(frame, command).count()
except Exception as error:
    assert "status 1" in str(error), error
else:
    raise SystemExit("a document without an id went through")


def feeding_fails():
    columns = {"id": ["a"], "title": [""], "text": ["text"], "row": [0]}
    yield pyarrow.RecordBatch.from_pydict(columns)
    raise KeyError("the feeder's own")


# what fails while documents are fed is told, not that the program was killed for it
try:
    list(spark.rows_of(feeding_fails(), command))
except KeyError as error:
    assert "the feeder's own" in str(error), error
else:
    raise SystemExit("a feeder that failed went unnoticed")
print(f"pyspark {pyspark.__version__}: {made.num_rows} rows")
session.stop()

"""What other programs read in a Parquet file of vectors: readers.py FILE EXPECTED.json.

Each reader that can be imported must see the types of the format and the same sums; prints a line for
each, and says on stderr which are not there. EXPECTED: rows, postings, sum of indices, sum of values,
n_tokens, truncated rows, first id.
"""
import json
import sys

FILE = sys.argv[1]
with open(sys.argv[2]) as file:
    EXPECTED = json.load(file)


def agree(reader, types, wanted_types, sums):
    """Sums of weights are added in other orders: they may differ in the last digits."""
    assert types == wanted_types, f"{reader}: expected {wanted_types}, got {types}"
    for name, wanted in EXPECTED.items():
        got = sums[name]
        same = abs(got - wanted) <= 1e-9 * wanted if name == "values" else got == wanted
        assert same, f"{reader}: {name}: expected {wanted}, got {got}"


def of_pyarrow():
    import pyarrow
    import pyarrow.compute as compute
    import pyarrow.parquet as parquet

    table = parquet.read_table(FILE)
    kinds = {field.name: str(field.type) for field in table.schema}
    wanted = {"id": "string", "indices": "list<element: int32 not null>",
              "values": "list<element: float not null>", "n_tokens": "int32", "truncated": "bool"}
    assert table.schema.metadata[b"l0.format"] == b"1", table.schema.metadata
    indices, values = (compute.list_flatten(table[name]) for name in ("indices", "values"))
    agree("pyarrow", kinds, wanted, dict(
        rows=table.num_rows, postings=len(indices), indices=compute.sum(indices).as_py(),
        values=compute.sum(values.cast("float64")).as_py(),
        n_tokens=compute.sum(table["n_tokens"]).as_py(),
        truncated=compute.sum(table["truncated"]).as_py(), first=table["id"][0].as_py()))
    return pyarrow.__version__


def of_polars():
    import polars

    frame = polars.read_parquet(FILE)
    kinds = {name: str(kind) for name, kind in frame.schema.items()}
    wanted = {"id": "String", "indices": "List(Int32)", "values": "List(Float32)", "n_tokens": "Int32",
              "truncated": "Boolean"}
    indices = frame["indices"].explode(empty_as_null=False).cast(polars.Int64)
    values = frame["values"].explode(empty_as_null=False).cast(polars.Float64)
    agree("polars", kinds, wanted, dict(
        rows=len(frame), postings=len(indices), indices=indices.sum(), values=values.sum(),
        n_tokens=frame["n_tokens"].sum(), truncated=frame["truncated"].sum(), first=frame["id"][0]))
    return polars.__version__


def of_duckdb():
    import duckdb

    ask = lambda sql: duckdb.connect().execute(sql).fetchall()
    kinds = {column[0]: column[1] for column in ask(f"DESCRIBE FROM '{FILE}'")}
    wanted = {"id": "VARCHAR", "indices": "INTEGER[]", "values": "FLOAT[]", "n_tokens": "INTEGER",
              "truncated": "BOOLEAN"}
    [row] = ask(
        "SELECT count(*), sum(len(indices)), sum(list_sum(indices::BIGINT[])), "
        'sum(list_sum("values"::DOUBLE[])), sum(n_tokens), count(*) FILTER (truncated), '
        f"min_by(id, file_row_number) FROM read_parquet('{FILE}', file_row_number = true)")
    sums = dict(zip(["rows", "postings", "indices", "values", "n_tokens", "truncated", "first"], row))
    agree("duckdb", kinds, wanted, sums)
    return duckdb.__version__


def of_datasets():
    import tempfile

    import datasets

    with tempfile.TemporaryDirectory() as cache:
        rows = datasets.load_dataset("parquet", data_files=FILE, split="train", cache_dir=cache)
        kinds = {name: getattr(kind, "dtype", None) or kind.feature.dtype for name, kind in rows.features.items()}
        wanted = {"id": "string", "indices": "int32", "values": "float32", "n_tokens": "int32",
                  "truncated": "bool"}
        agree("datasets", kinds, wanted, dict(
            rows=len(rows), postings=sum(map(len, rows["indices"])), indices=sum(map(sum, rows["indices"])),
            values=sum(map(sum, rows["values"])), n_tokens=sum(rows["n_tokens"]),
            truncated=sum(rows["truncated"]), first=rows[0]["id"]))
        for feature in ("indices", "values"):
            assert "List" in type(rows.features[feature]).__name__ or "Sequence" in str(rows.features[feature])
    return datasets.__version__


def of_spark():
    import pyspark
    from pyspark.sql import SparkSession

    try:
        builder = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
        session = builder.config("spark.driver.bindAddress", "127.0.0.1").config("spark.driver.host", "127.0.0.1").getOrCreate()
    except Exception as error:  # no Java, or one that this Spark does not know
        raise ImportError(str(error).splitlines()[0])
    session.sparkContext.setLogLevel("ERROR")
    frame = session.read.parquet(FILE)
    kinds = dict(frame.dtypes)
    wanted = {"id": "string", "indices": "array<int>", "values": "array<float>", "n_tokens": "int",
              "truncated": "boolean"}
    fold = "aggregate({0}, cast(0 as {1}), (sum, each) -> sum + each)"
    row = frame.selectExpr(
        "count(*)", "sum(size(indices))", f"sum({fold.format('indices', 'bigint')})",
        f"sum({fold.format('`values`', 'double')})", "sum(n_tokens)", "count_if(truncated)").first()
    sums = dict(zip(["rows", "postings", "indices", "values", "n_tokens", "truncated"], row))
    agree("spark", kinds, wanted, dict(sums, first=frame.first()["id"]))
    session.stop()
    return pyspark.__version__


for reader in sys.argv[3:]:
    try:
        print(reader, globals()[f"of_{reader}"]())
    except ImportError as error:
        print(f"no {reader}: {error}", file=sys.stderr)

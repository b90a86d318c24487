"""What `l0-index export` wrote, against what engines document: schemas.py FOLDER, which has the files of
testdata/exchange. Each check needs a package and is left out with a message without it. Exits 1 at a fault.

The JSON schemas below are made from the engines' public references: rank_features and sparse_vector fields, the
neural_sparse query and _bulk of OpenSearch 3.9; the sparse_vector field and query of Elasticsearch 9; document JSON and
query API of Vespa.
"""

import json
import sys
from pathlib import Path

FOLDER = Path(sys.argv[1])


def value(name):
    return json.loads((FOLDER / name).read_text())


def lines(name):
    return [json.loads(line) for line in (FOLDER / name).open()]


def thing(required, optional=()):
    """An object of these keys and no others."""
    required, optional = dict(required), dict(optional)
    return {
        "type": "object", "properties": required | optional, "required": list(required), "additionalProperties": False,
    }


STRING, COUNT = {"type": "string", "minLength": 1}, {"type": "integer", "minimum": 1}
POSITIVE = {"type": "number", "exclusiveMinimum": 0}
BY_TOKEN = {"type": "object", "additionalProperties": POSITIVE}
BY_ID = {"type": "object", "patternProperties": {"^(0|[1-9][0-9]*)$": POSITIVE}, "additionalProperties": False}
TEXTS = {"title": STRING, "text": STRING}


def share(most):
    return {"type": "number", "exclusiveMinimum": 0, most: 1}


SEISMIC = thing({
    "name": {"const": "seismic"},
    "parameters": thing({}, {
        "n_postings": COUNT, "cluster_ratio": share("exclusiveMaximum"), "summary_prune_ratio": share("maximum"),
        "approximate_threshold": {"type": "integer", "minimum": 0},
        "quantization_ceiling_search": POSITIVE, "quantization_ceiling_ingest": POSITIVE,
    }),
})


def mapping(settings, field):
    fields = {"id": thing({"type": {"const": "keyword"}}), "emb": field}
    fields |= {name: thing({"type": {"const": "text"}}) for name in TEXTS}
    index = thing({"number_of_shards": COUNT} | settings)
    return thing({"settings": thing({"index": index}), "mappings": thing({"properties": thing(fields)})})


def search(query):
    return thing({"size": COUNT, "_source": {"type": "array", "items": STRING}, "query": query})


def neural(tokens, more):
    return thing({"neural_sparse": thing({"emb": thing({"query_tokens": tokens} | more)})})


METHOD = thing({"k": COUNT, "top_n": COUNT, "heap_factor": POSITIVE})
SPARSE = thing({"field": STRING, "query_vector": BY_TOKEN}, {"prune": {"type": "boolean"}})
# engine: schema of the mapping, of a vector, of a search
BULK = {
    "opensearch": (mapping({}, thing({"type": {"const": "rank_features"}})), BY_TOKEN, search(neural(BY_TOKEN, {}))),
    "opensearch-ann": (
        mapping({"sparse": {"const": True}}, thing({"type": {"const": "sparse_vector"}, "method": SEISMIC})),
        BY_ID,
        search(neural(BY_ID, {"method_parameters": METHOD})),
    ),
    "elasticsearch": (
        mapping({}, thing({"type": {"const": "sparse_vector"}, "index_options": thing({"prune": {"type": "boolean"}})})),
        BY_TOKEN,
        search(thing({"sparse_vector": SPARSE})),
    ),
}


def bulk():
    from jsonschema import validate

    for engine, (mapped, vector, asked) in BULK.items():
        validate(value(f"{engine}.mapping.json"), mapped)
        validate(value(f"{engine}.query.json"), asked)
        document = thing({"id": STRING, "emb": vector}, TEXTS)
        action = thing({"index": thing({"_index": {"const": "l0"}, "_id": STRING})})
        for at, line in enumerate(lines(engine)):
            validate(line, document if at % 2 else action)
        for at, line in enumerate(lines(f"{engine}.asked")):
            validate(line, asked if at % 2 else thing({"_index": {"const": "l0"}}))


def vespa():
    from jsonschema import validate

    put = thing({
        "put": {"type": "string", "pattern": "^id:l0:l0::.+$"}, "fields": thing({"id": STRING, "emb": BY_TOKEN}, TEXTS),
    })
    for line in lines("vespa"):
        validate(line, put)
    body = {"yql": STRING, "ranking": {"const": "sparse"}, "hits": COUNT, "input.query(q)": BY_TOKEN}
    validate(value("vespa.query.json"), thing(body))
    for line in lines("vespa.asked"):
        validate(line, thing(body | {"_id": STRING}))


def vespa_schema():
    """The schema, written by Vespa's own Python library from the same parts: the same words in the same order."""
    from vespa.package import Document, Field, RankProfile, Schema, FirstPhaseRanking

    kind = "tensor<float>(token{})"
    fields = [Field("id", "string", indexing=["summary", "attribute"])]
    fields += [Field(name, "string", indexing=["summary", "index"]) for name in ("title", "text")]
    fields.append(Field("emb", kind, indexing=["attribute"]))
    first = FirstPhaseRanking("sum(query(q) * attribute(emb))")
    profile = RankProfile("sparse", first_phase=first, inputs=[("query(q)", kind)])
    made = Schema("l0", Document(fields), rank_profiles=[profile]).schema_to_text

    def words(text):
        text = text.replace("document l0 {", "document {").replace("expression:", "expression {")
        return sorted(word for word in text.replace("{", " ").replace("}", " ").split() if word != "l0")

    ours = (FOLDER / "vespa.sd").read_text()
    assert words(made) == words(ours), f"{made}\n-- and ours\n{ours}"


def elastic():
    """The query and the field as Elastic's own library spells them."""
    from elasticsearch.dsl import Q, SparseVector

    asked = value("elasticsearch.query.json")["query"]
    assert Q("sparse_vector", **asked["sparse_vector"]).to_dict() == asked
    field = value("elasticsearch.mapping.json")["mappings"]["properties"]["emb"]
    assert SparseVector(index_options=field["index_options"]).to_dict() == field


def qdrant():
    from qdrant_client import models

    made = value("qdrant.collection.json")
    models.CreateCollection(**made)
    for body in lines("qdrant"):
        models.PointsList(**body)
    for body in [value("qdrant.query.json"), *lines("qdrant.asked")]:
        body.pop("_id", None)
        models.QueryRequest(**body)


def main():
    for check in (bulk, vespa, vespa_schema, elastic, qdrant):
        try:
            check()
        except ImportError as error:
            print(f"{check.__name__}: left out, for want of {error.name}", file=sys.stderr)
            continue
        print(f"{check.__name__}: sound")


main()

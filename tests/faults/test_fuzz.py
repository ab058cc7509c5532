"""Readers meet files that no one has written: only our own errors come.

`fuzz.py` does the same for hours; what it found stands in `FOUND`, as small as
it could be made.
"""

import json
import random
import struct

import hypothesis
from absl.testing import absltest, parameterized
from hypothesis import strategies as st

from tests.faults import fuzz, strangers

_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)

# Text that begins as Zstandard does, and is none.
_NO_ZSTANDARD = b"\x28\xb5\x2f\xfd" + b'{"a": 1}'

# Contents that were answered by a foreign error, by the reader.
FOUND = {
    "logs of lm_eval": (_NO_ZSTANDARD,),
    "results of lm_eval": (_NO_ZSTANDARD,),
    "logs of Inspect in JSON": (_NO_ZSTANDARD,),
    "corpus in JSON lines": (_NO_ZSTANDARD,),
    "scores in JSON lines": (_NO_ZSTANDARD,),
    # NumPy's header is read by Python's tokenizer.
    "embeddings": (b"\x93NUMPY\x01\x00\x10\x00{'descr': (\n      \n",),
    "points in CSV": (
        b"cost,loss\n1\xb1,2\n",
        b"\xe3ost,loss\n1,2\n",
        b"sep=\x00",
        b"cost,cost,loss\n1,2,3\n",
        b"sep=\xe9\ncost,loss\n1,2\n",
    ),
    "dates of texts": (b"text_id,date,date\na,2020-01-01,2021-01-01\n",),
    "config.json of a stranger": (b'{"model_type": "gpt2", "": "5.24.0"}',),
    "facts of models in CSV": (
        b"model,f\xe1mily,num_params\nm0,x,1\n",
        b"model,family,num_params\nm0,x,70503706496.0m\nm1,x,7503706496.1B\n",
        b"model,family,num_params\nm0,x,%sB\n" % (b"9" * 400),
    ),
}


def _settings(max_examples: int):
    return hypothesis.settings(
        max_examples=max_examples,
        deadline=None,
        derandomize=True,
        database=None,
    )


class FuzzTest(parameterized.TestCase):
    def attack(self, aim, content):
        self.assertIn(aim.attack(content), fuzz.FINE, content[:300])

    @parameterized.named_parameters(
        (name.replace(" ", "_"), name) for name in fuzz.READERS
    )
    def test_edited_files(self, name):
        with fuzz.target(name) as aim:

            @_settings(5 if name in strangers.FILES else 20)
            @hypothesis.given(st.integers(0, 2**32))
            def attack(seed):
                self.attack(aim, fuzz.edited(aim.seed, random.Random(seed)))

            attack()
            for content in FOUND.get(name, ()):
                self.attack(aim, content)

    @parameterized.parameters(
        ("details of lighteval", b"q"),
        ("documents of Levanter", b"so"),
        ("scores in Parquet", b"a"),
        ("corpus in Parquet", b"another"),
    )
    def test_texts_in_parquet_that_are_not_utf8(self, name, text):
        with fuzz.target(name) as aim:
            # As it stands in pages, behind its length.
            page = len(text).to_bytes(4, "little") + text
            self.assertIn(page, aim.seed)
            bad = page[:-1] + b"\xff"
            self.attack(aim, aim.seed.replace(page, bad))

    @parameterized.parameters("config.json of a stranger", "result.json")
    def test_other_values_in_json(self, name):
        with fuzz.target(name) as aim:
            content = json.loads(aim.seed)

            @_settings(20)
            @hypothesis.given(
                st.dictionaries(
                    st.sampled_from(sorted(content)), _JSON, min_size=1
                )
            )
            def attack(changes):
                text = json.dumps({**content, **changes})
                self.attack(aim, text.encode())

            attack()

    def test_other_values_in_the_header_of_safetensors(self):
        with fuzz.target("safetensors of a stranger") as aim:
            (size,) = struct.unpack("<Q", aim.seed[:8])
            header = json.loads(aim.seed[8 : 8 + size])
            names = sorted(header.keys() - {"__metadata__"})

            @_settings(20)
            @hypothesis.given(
                st.sampled_from(names),
                st.dictionaries(
                    st.sampled_from(["dtype", "shape", "data_offsets"]),
                    _JSON | st.sampled_from(["F16", "I8", "BOOL"]),
                    min_size=1,
                ),
            )
            def attack(name, changes):
                entry = {**header[name], **changes}
                text = json.dumps({**header, name: entry}).encode()
                self.attack(
                    aim,
                    struct.pack("<Q", len(text)) + text + aim.seed[8 + size :],
                )

            attack()


if __name__ == "__main__":
    absltest.main()

"""SentencePiece models as backends: folders with `tokenizer.model` alone.

The library of Kudo and Richardson (2018, arXiv 1808.06226) encodes: its own
normaliser, prefix rule, byte fallback and user-defined pieces, so that ids are
those with which the model was trained.
"""

import functools
import itertools
import pathlib
import re
from collections.abc import Mapping, Sequence

import sentencepiece
from google.protobuf import message

from mmc_jax.scoring import alignment

# How a piece spells a space.
_SPACE = "\u2581"
# XGLM puts its special tokens first, in the order of fairseq, and moves all
# other pieces up by one.
_XGLM_SPECIAL = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3}


class SentencePieceTokenizer:
    """A backend of the sentencepiece library; control symbols are text.

    Args:
      model: The serialised model.
      file: The file that it is from, for errors.
      added: Ids of tokens that are no pieces of the model, by their text. They
        are found in a text before the model sees what is between them.
      is_xglm: Whether ids are in XGLM's order.
      add_prefix_space: Whether a space goes before a text; None for what the
        model itself says.

    Attributes:
      in_front: Id of the token that the class of transformers puts before a
        text; None where it puts none there.
      bos: Id of the model's own token that begins a text, None without one.
      eos: Id of the model's own token that ends a text, None without one.

    Raises:
      ValueError: The file is no SentencePiece model; an added token's id is a
        piece's of another text.
    """

    def __init__(
        self,
        model: bytes,
        file: pathlib.Path,
        *,
        added: Mapping[str, int] | None = None,
        is_xglm: bool = False,
        add_prefix_space: bool | None = None,
    ):
        try:
            if add_prefix_space is not None:
                model = _with_prefix_space(model, add_prefix_space)
            self._model = sentencepiece.SentencePieceProcessor(
                model_proto=model
            )
        except (RuntimeError, OSError, message.DecodeError) as error:
            raise ValueError(
                f"{file}: its tokenizer cannot be loaded: no SentencePiece "
                f"model ({error}). A file of tiktoken is not read: put "
                "tokenizer.json beside the weights"
            ) from error
        self._is_xglm = is_xglm
        self.in_front = _XGLM_SPECIAL["</s>"] if is_xglm else None
        self.bos = self._special(self._model.bos_id())
        self.eos = self._special(self._model.eos_id())
        self._added = {}
        for text, id in (added or {}).items():
            piece = self.id_to_token(id)
            if piece is not None and piece != text:
                raise ValueError(
                    f"{file}: the added token {text!r} has the id {id}, which "
                    f"is the piece {piece!r}"
                )
            if piece is None or not self._is_found_by_model(id):
                self._added[text] = id
        self._text_of_added = {id: text for text, id in self._added.items()}
        # The longest first: of two that begin at one place it is taken.
        longest = sorted(self._added, key=len, reverse=True)
        self._split = re.compile(f"({'|'.join(map(re.escape, longest))})")

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Returns the token ids of each text, no special tokens around them."""
        if not self._added:
            return [self._ids(row) for row in self._model.encode(list(texts))]
        return [self._encode_with_added(text) for text in texts]

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Returns the text of each list of token ids."""
        return [self._decode(row) for row in ids]

    def token_to_id(self, token: str) -> int | None:
        """Returns the id of a token, None where there is no such token."""
        if token in self._added:
            return self._added[token]
        if self._is_xglm and token in _XGLM_SPECIAL:
            return _XGLM_SPECIAL[token]
        piece = self._model.piece_to_id(token)
        # The id of the unknown piece stands for all that is not there.
        if self._model.id_to_piece(piece) != token:
            return None
        return self._ids([piece])[0]

    def id_to_token(self, id: int) -> str | None:
        """Returns the token of an id, None where there is no such id."""
        if id in getattr(self, "_text_of_added", {}):
            return self._text_of_added[id]
        piece = self._piece(id)
        return None if piece is None else self._model.id_to_piece(piece)

    def surface(self, id: int) -> bytes:
        """Returns the bytes that a token stands for, whatever is around it."""
        if id in self._text_of_added:
            return self._text_of_added[id].encode()
        piece = self._piece(id)
        if piece is None:
            return b""
        token = self._model.id_to_piece(piece)
        if self._model.is_byte(piece):
            return bytes([int(token[3:5], 16)])
        return token.replace(_SPACE, " ").encode()

    def ends(self, text: str, ids: Sequence[int]) -> list[int] | None:
        """Returns where each token of a text ends, in bytes.

        The library says where what its normaliser makes of a text is from. A
        space that it puts before the text, and behind each added token, takes
        no bytes.
        """
        found, seen, start = [], [], 0
        for part in self._split.split(text) if self._added else [text]:
            size = len(part.encode())
            if part in self._added:
                seen.append(self._added[part])
                found.append(start + size)
            elif part:
                part_ids, ends = self._part_ends(part)
                if ends is None:
                    return None
                seen += part_ids
                found += [start + end for end in ends]
            start += size
        return found if seen == list(ids) else None

    def _part_ends(self, text: str) -> tuple[list[int], list[int] | None]:
        """Returns the tokens of a text without added ones, and their ends."""
        ids = self._model.encode(text)
        if not ids:
            # Its bytes belong to the token that comes behind.
            return [], []
        normalised, origins = self._model.normalize(text, with_offsets=True)
        sizes = (
            1 if self._model.is_byte(id) else len(piece.encode())
            for id, piece in zip(
                ids, self._model.encode(text, out_type=str), strict=True
            )
        )
        starts = [
            n
            for n, (origin, before) in enumerate(
                zip(origins[:-1], [-1, *origins], strict=False)
            )
            if origin > before
        ]
        # The space in front is of no character.
        if (
            self._puts_space
            and normalised.startswith(_SPACE)
            and 1 not in starts
        ):
            starts.insert(1, 1)
        # White space at the end of which nothing is made is a piece as well.
        bounds = [*starts, len(normalised), len(normalised)]
        places = [0, *(origins[n] for n in bounds[1:-1]), len(text)]
        made = alignment.of_pieces(
            [text[a:b] for a, b in itertools.pairwise(places)],
            [normalised[a:b] for a, b in itertools.pairwise(bounds)],
        )
        return self._ids(ids), made.raw(list(itertools.accumulate(sizes)))

    @functools.cached_property
    def _puts_space(self) -> bool:
        """Whether the model puts a space before a text."""
        return self._model.normalize("a").startswith(_SPACE)

    def _special(self, piece: int) -> int | None:
        """Returns the id of a special piece; -1 stands for none."""
        return self._ids([piece])[0] if piece >= 0 else None

    def _is_found_by_model(self, id: int) -> bool:
        """Returns whether the model splits texts at this piece by itself."""
        text = self._model.id_to_piece(self._piece(id))
        middle = self._model.encode(f"a{text}a")
        return self._piece(id) in middle and len(middle) <= 4

    @functools.cached_property
    def _xglm_ids(self) -> dict[int, int]:
        """Ids of XGLM by the piece's number in the model."""
        return {
            piece: _XGLM_SPECIAL.get(self._model.id_to_piece(piece), piece + 1)
            for piece in range(self._model.get_piece_size())
        }

    @functools.cached_property
    def _xglm_pieces(self) -> dict[int, int]:
        return {id: piece for piece, id in self._xglm_ids.items()}

    def _ids(self, pieces: Sequence[int]) -> list[int]:
        """Returns the ids of pieces, given by their numbers in the model."""
        if not self._is_xglm:
            return list(pieces)
        return [self._xglm_ids[piece] for piece in pieces]

    def _piece(self, id: int) -> int | None:
        """Returns the number of an id's piece in the model."""
        if self._is_xglm:
            return self._xglm_pieces.get(id)
        return id if 0 <= id < self._model.get_piece_size() else None

    def _encode_with_added(self, text: str) -> list[int]:
        ids = []
        for part in self._split.split(text):
            if part in self._added:
                ids.append(self._added[part])
            elif part:
                ids += self._ids(self._model.encode(part))
        return ids

    def _decode(self, ids: Sequence[int]) -> str:
        texts, pieces = [], []
        for id in [*ids, None]:
            piece = None if id is None else self._piece(id)
            if piece is not None and id not in self._text_of_added:
                pieces.append(piece)
                continue
            texts.append(self._model.decode(pieces))
            pieces = []
            texts.append(self._text_of_added.get(id, ""))
        return "".join(texts)


def model_message() -> type[message.Message]:
    """Returns the class of what a SentencePiece model's file holds.

    Raises:
      ImportError: sentencepiece was made for another protobuf.
    """
    # Needed by few folders.
    try:
        from sentencepiece import sentencepiece_model_pb2
    except Exception as error:  # protobuf raises of its own type.
        raise ImportError(
            "sentencepiece was made for another protobuf than the one here; "
            f"run: pip install -U sentencepiece protobuf ({error})"
        ) from error
    return sentencepiece_model_pb2.ModelProto


def _with_prefix_space(model: bytes, asked: bool) -> bytes:
    """Returns a serialised model that puts a space before texts, or not."""
    proto = model_message().FromString(model)
    proto.normalizer_spec.add_dummy_prefix = asked
    return proto.SerializeToString()

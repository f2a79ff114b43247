"""Lesson: what a latent space is. No word of the field is used before it is explained (in bold)."""

import numpy as np

from vae.lessons.board import Board
from vae.lessons.kl_steps import number
from vae.lessons.lesson import POINT, Lesson, Part, Question, Step

_MOST = 1000  # pictures whose neighbours are looked up
YES, NO = "yes", "no"


def agreement(board: Board) -> float:
    """Of 100 pictures, how many have a nearest neighbour on the map of their own kind."""
    mu, labels = board.embedding.mu[:_MOST].astype(np.float64), board.embedding.labels[:_MOST]
    squares = (mu**2).sum(1)
    distances = squares[:, None] - 2 * mu @ mu.T + squares
    np.fill_diagonal(distances, np.inf)
    return float(100 * (labels[distances.argmin(1)] == labels).mean())


def nearest(board: Board) -> int:
    """The picture whose dot is nearest to the chosen one's."""
    away = np.linalg.norm(board.embedding.mu.astype(np.float64) - board.mu.numpy(), axis=1)
    away[board.index] = np.inf
    return int(away.argmin())


def spreads(board: Board) -> dict[str, float]:
    """How far the dots of each kind lie from their middle, on average."""
    embedding, found = board.embedding, {}
    for label, name in enumerate(embedding.class_names):
        mu = embedding.mu[embedding.labels == label].astype(np.float64)
        if len(mu):
            found[name] = float(np.linalg.norm(mu - mu.mean(0), axis=1).mean())
    return found


def _kind(board: Board, index: int) -> str:
    return board.embedding.class_names[board.embedding.labels[index]]


def _size(board: Board) -> tuple[str, ...]:
    C, H, W = board.model.config.image_shape
    product = rf"{C} \times {H} \times {W}" if C > 1 else rf"{H} \times {W}"
    return (rf"{product} = {board.n_pixels:,} \text{{ numbers}}",)


def _place(board: Board) -> tuple[str, ...]:
    shown = ", ".join(map(number, board.mu[:4])) + (r", \dots" if len(board.mu) > 4 else "")
    return (
        rf"\text{{picture {board.index:,}: }} {board.n_pixels:,} \text{{ numbers}} "
        rf"\;\to\; ({shown})",
    )


def _there_and_back(board: Board) -> tuple[str, ...]:
    decoded = board.model.decode_mean(board.mu.float()).detach()
    off = float((decoded - board.image).abs().mean())
    return (
        rf"\text{{each of the {board.n_pixels:,} numbers is off by }} {number(off)} "
        r"\text{ on average}",
    )


def _neighbour(board: Board) -> tuple[str, ...]:
    other = nearest(board)
    return (
        rf"\text{{nearest to picture {board.index:,} ({_tex(_kind(board, board.index))}): "
        rf"picture {other:,} ({_tex(_kind(board, other))})}}",
    )


def _tex(name: str) -> str:
    return "".join(c if c.isalnum() or c in " -" else " " for c in name)


LESSON = Lesson(
    key="latent-space",
    title="Latent space",
    question="Where does a picture go that only a few numbers may describe?",
    minutes=40,
    subject=POINT,
    symbols=("x", "encoder", "z", "latent space", "k", "decoder", "manifold"),
    steps=(
        Step(
            "picture",
            "A picture is numbers",
            Part.PLACES,
            "To a computer a picture is a table of numbers: one for each of its little squares, 0 "
            "for black, 1 for white. The picture at the right is such a table.",
            "",
            _size,
            do="Click any dot of the map: each dot is a picture.",
        ),
        Step(
            "place",
            "A few numbers will do",
            Part.PLACES,
            "You would not read all of them to a friend. You would say: a narrow seven, leaning to "
            "the right. A few numbers should do. A computer program was shown many pictures and "
            "has found such numbers itself. The part of it that reads a picture and answers with a "
            "few numbers is called the **encoder**. Take the numbers as coordinates, and every "
            "picture has a place on a map. All such places together are the **latent space**; "
            "latent means hidden, as nobody told the program what its numbers should stand for. A "
            "place there is called **z**, and the picture is called **x**.",
            "",
            _place,
        ),
        Step(
            "neighbours",
            "Alike lies near",
            Part.PLACES,
            "The colours show what each picture is of. The encoder was never told: it has seen "
            "pictures, and no names. Still the colours lie in patches.",
            "",
            lambda board: (
                rf"\text{{{agreement(board):.0f} of 100 pictures have a nearest neighbour of their "
                r"own kind}",
            ),
            predict=Question(
                "agreement",
                "Take any picture and its nearest neighbour on the map. In how many cases of 100 "
                "do both show the same kind of thing?",
                agreement,
                lambda board: f"counted over {min(_MOST, len(board.embedding)):,} of the pictures.",
                tolerance=0.1,
                least=5,
                unit="of 100",
            ),
        ),
        Step(
            "decoder",
            "And back",
            Part.PLACES,
            "A second part of the program goes the other way: from any place to a picture. It is "
            "called the **decoder**. It has only the few numbers to go by, so what comes back is "
            "not quite what went in.",
            "",
            _there_and_back,
            do="Move over the map: the right picture is what the decoder makes of the place.",
        ),
        Step(
            "between",
            "Where no picture lies",
            Part.PLACES,
            "The decoder answers everywhere, not only at the dots. On the way from one patch to "
            "another one kind of picture turns into the other. All that the decoder can make, laid "
            "out over the map, is called the **manifold**.",
            do="Press Manifold, and find the place where one kind turns into another.",
            tools=("manifold",),
        ),
        Step(
            "draw",
            "Find your own",
            Part.PLACES,
            "What you draw yourself goes the same way: the encoder reads it, and the green dot "
            "jumps to its place. Beside it lies what looks alike to the encoder.",
            "",
            _neighbour,
            do="Press Draw, draw a digit, and see where it goes. Then draw a bad one.",
            tools=("manifold", "draw"),
        ),
    ),
    questions=(
        Question(
            "fewer",
            "By how many times are the numbers fewer after the encoder?",
            lambda board: board.n_pixels / len(board.mu),
            lambda board: f"{board.n_pixels:,} numbers have become {len(board.mu)}.",
            unit="times",
        ),
        Question(
            "own-kind",
            "The dot nearest to the chosen picture's: is it of the same kind?",
            lambda board: YES if _kind(board, nearest(board)) == _kind(board, board.index) else NO,
            lambda board: (
                f"the nearest is picture {nearest(board):,}, of kind "
                f"{_kind(board, nearest(board))}; the chosen one is of kind "
                f"{_kind(board, board.index)}."
            ),
            (YES, NO),
        ),
        Question(
            "first-number",
            "What is the first of the numbers that the encoder gives the chosen "
            "picture? Read it off the map, across.",
            lambda board: float(board.mu[0]),
            lambda board: (
                f"so far to the {'right' if board.mu[0] > 0 else 'left'} of 0 the "
                f"dot of picture {board.index:,} lies."
            ),
            tolerance=0.1,
            least=0.25,
            unit="",
        ),
    ),
    teacher=(
        "Needs nothing but curiosity: no word is used here before it is explained.",
        "Let somebody describe a digit aloud while another draws it: encoder and decoder.",
        "Count the numbers of one picture on the board before you show how few are left.",
        "Let the class guess the neighbours' agreement and write down the spread of guesses.",
        "Hover slowly over a border between two patches; ask when it stops being the one.",
        "Ask where the decoder is worst. It is usually between three patches.",
        "The drawing is the hit: let three of them draw the same digit and compare the dots.",
        "A thin drawing goes astray: the encoder knows only pictures like those it saw.",
        "Somebody will ask what the axes mean. Nobody knows: that is what latent says.",
        "End with the question of the next lesson: why should one picture have but one place?",
    ),
)

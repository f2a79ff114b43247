import numpy as np

from vae.figures import gaussians as figures
from vae.figures import theme


def test_a_line_shows_both_densities_above_both_integrands():
    x = np.linspace(-1, 1, 5)
    values = [np.arange(5.0) + i for i in range(4)]
    figure = figures.line(x, (values[0], values[1]), (values[2], values[3]))
    assert [trace.name for trace in figure.data] == ["P", "Q", "P log(P/Q)", "Q log(Q/P)"]
    assert [trace.yaxis for trace in figure.data] == ["y", "y", "y2", "y2"]
    for trace, expected in zip(figure.data, values, strict=True):
        np.testing.assert_array_equal(trace.x, x)
        np.testing.assert_array_equal(trace.y, expected)
    assert figure.layout.yaxis.domain[0] > figure.layout.yaxis2.domain[1]


def test_p_has_the_accent_of_q_of_z_given_x_and_q_a_colour_of_its_own():
    values = (np.zeros(2), np.zeros(2))
    figure = figures.line(np.arange(2.0), values, values)
    colours = [trace.line.color for trace in figure.data]
    assert colours == [theme.Q_COLOUR, figures.OTHER_COLOUR] * 2
    assert figures.OTHER_COLOUR not in (*theme.CLASS_COLOURS, theme.PRIOR_COLOUR)

"""What is logged by a name that MLflow takes, and of each curve once."""

from hypothesis import example, given
from hypothesis import strategies as st
from mlflow.utils.validation import _validate_metric_name, _validate_param, _validate_tag

from mpo_core.tracking.known import Known
from mpo_core.tracking.tracker import _name, _short
from tests.thoroughness import examples


@given(st.dictionaries(st.text(max_size=300), st.text(max_size=5), max_size=5))
@example({"models.llm.extra_body.top(k)": "1"})
@example({"/": "", "..": "", "a/../b": "", "": "", "a//" * 90: "", "." * 300: "", "é\n": ""})
@examples(100)
def test_mlflow_takes_the_name_of_any_setting(given):
    for kind, validate in (("param", _validate_param), ("tag", _validate_tag)):
        for key, value in _short(given, kind).items():
            validate(key, value)
    for name in given:
        _validate_metric_name(_name(name))


steps = st.integers(0, 3)
names = st.sampled_from(["loss", "reward"])


@given(st.lists(st.tuples(names, st.none() | steps, st.sampled_from([0.0, 0.5])), max_size=30))
def test_of_a_curves_step_there_is_one_point_and_of_a_figure_the_last_value(logs):
    known, points, figures = Known(), {}, {}
    for name, step, value in logs:
        entry = {"op": "metrics", "run": "r", "step": step, "values": {name: value}}
        new = known.new(entry)
        if step is None:
            assert (new is None) == (figures.get(name) == value)
            figures[name] = value
        else:
            assert (new is None) == ((name, step) in points)
            points.setdefault((name, step), value)

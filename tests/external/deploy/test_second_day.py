"""What operators did to an installation on a real API server, and lost the service by, with the test that sees each now.

`.venv/bin/python -m pytest PLACE` runs one; places without a folder are in this one, `make check-deploy` runs these.
Mended: by the product, as the test shows. Refused: by the build or the chart, before anything is applied. Told: a page says
what to do, and the test what happens else, or only that the page says it.

K1   an upgrade while green is served                  mended   test_walks.py::test_each_apply_changes_what_the_readme_says_and_an_upgrade_after_it_nothing_that_is_set
K2   an autoscaler left outside two colors             refused  test_installations.py::test_what_belongs_to_a_color_fails_the_build_outside_of_two
K3   the served color without a ready pod              mended   tests/external/prometheus/test_promtool.py::test_alerts_fire_when_they_must_and_not_when_they_must_not
K4   from the CPU's autoscaler to KEDA                 mended   test_walks.py::test_each_precaution_is_needed
K5   pods scaled by hand before two colors             mended   test_walks.py::test_each_precaution_is_needed
K6   the switch to an idle color with an autoscaler    mended   test_colors.py::test_a_color_with_an_autoscaler_gets_the_others_minimum_before_the_switch
K7   replicas beside an autoscaler: the chart          refused  test_chart_values.py::test_what_nobody_can_mean_is_refused
K7   replicas beside an autoscaler: kustomize          told     test_walks.py::test_a_number_that_is_left_beside_an_autoscaler_is_refused
K8   from one color to two, with Triton                mended   test_colors.py::test_two_colors_with_triton_follow_one_without_a_pod_of_two_budgets
K9   a Job of plans that needs something else: chart   mended   test_chart.py::test_a_job_is_another_one_if_anything_that_it_needs_changes
K9   a Job of plans that failed: kustomize             told     test_walks.py::test_a_job_that_failed_runs_again_with_what_it_lacked
K10  KEDA in both colors, another namespace            mended   test_rules.py::test_a_build_keeps_every_rule
K11  an autoscaler removed that was there at first     told     test_second_day.py::test_the_page_says_what_the_product_cannot_refuse
K12  kubectl rollout undo, and force                   told     test_second_day.py::test_the_page_says_what_the_product_cannot_refuse
K13  a tag for one color                               mended   test_installations.py::test_a_tag_outside_does_not_reach_a_color_that_names_its_image
K14  images by URL                                     mended   test_components.py::test_the_edits_of_a_page_lead_to_an_installation_that_keeps_every_rule
K15  one of two installations with plans removed       mended   test_walks.py::test_without_rights_on_the_cluster_nothing_of_it_is_applied
K16  the kustomize inside kubectl                      mended   test_kubectl.py::test_apply_builds_what_kustomize_builds
K16  a kustomize before 5.2                            told     test_second_day.py::test_the_page_says_what_the_product_cannot_refuse
K17  a model as an image before 1.35: the chart        refused  test_chart_values.py::test_a_model_as_an_image_is_refused_where_kubernetes_has_no_such_volumes
K17  a model as an image before 1.35: kustomize        told     tests/deploy/test_documents.py::test_the_overview_says_what_a_component_needs
K18  a quota on limits.cpu                             told     test_overview.py::test_the_readme_says_how_many_cores_a_container_requests_at_most
K19  monitoring and KEDA as a namespace's admin        told     test_kubectl.py::test_what_pages_create_is_what_kubectl_makes
K20  KEDA warns of an interval that it ignores         mended   test_rules.py::test_a_build_keeps_every_rule
K21  a large photo behind an Ingress, Gateway API      mended   test_schemas.py::test_the_operators_know_every_field
K21  a load balancer without keys                      refused  test_components.py::test_a_load_balancer_is_refused_without_keys_before_it
K21  a load balancer with TLS: gRPC alone              mended   test_components.py::test_a_load_balancer_in_front_of_a_certificate_has_grpc_alone
K22  half of a fleet dead for hours                    mended   tests/external/prometheus/test_promtool.py::test_alerts_fire_when_they_must_and_not_when_they_must_not
K23  another model in compose                          mended   tests/models/test_triton_change_of_model.py::test_models_of_another_artifact_are_removed
K24  two Tritons in compose                            mended   test_compose.py::test_each_of_two_tritons_has_a_gpu_of_its_own_and_the_same_name
K24  logs in compose                                   mended   tests/external/image/test_compose.py::test_the_log_of_a_service_has_a_bound
"""  # noqa: E501 (a table)

from __future__ import annotations

import re
from pathlib import Path

from tests.deploy.manifests import K8S, ROOT

ROWS = re.findall(
    r"^(K\d+) +(.+?) {2,}(mended|refused|told) +(?:(\S+)/)?(\S+)::(\w+)$", __doc__ or "", re.MULTILINE
)
README = (K8S / "README.md").read_text()


def test_every_fault_has_a_test_that_there_is() -> None:
    assert {number for number, *_ in ROWS} == {f"K{number}" for number in range(1, 25)}
    for number, _, _, folder, file, name in ROWS:
        path = ROOT / folder / file if folder else Path(__file__).with_name(file)
        assert f"\ndef {name}(" in path.read_text(), number


def test_the_page_says_what_the_product_cannot_refuse() -> None:
    for sentence in (
        "Without an autoscaler the number is the manifest's again, two: set it to the pods that run now",
        "Do not run `kubectl rollout undo`",
        "(https://kubectl.docs.kubernetes.io/installation/kustomize/) 5.2 or newer",
    ):
        assert sentence in README
    pages = [page.read_text() for page in (*(ROOT / "deploy").rglob("*.md"), *(ROOT / "docs").glob("*.md"))]
    assert sum(text.count("rollout undo") for text in pages) == 1
    assert sum(text.count("--force-conflicts") for text in pages) == 1

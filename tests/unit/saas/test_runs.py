from app.runs import RunState

EXECUTING = """{
  "id": "run_1", "status": "EXECUTING", "isCompleted": false, "isSuccess": false,
  "taskIdentifier": "export-invoices", "attemptCount": 1,
  "metadata": {"pagesDone": 2, "pagesTotal": 8},
  "relatedRuns": {"children": [
    {"id": "run_4", "status": "COMPLETED", "taskIdentifier": "send-export-email",
     "createdAt": "2025-03-01T00:00:02.000Z"},
    {"id": "run_3", "status": "EXECUTING", "taskIdentifier": "paginate-page",
     "createdAt": "2025-03-01T00:00:01.000Z"},
    {"id": "run_2", "status": "COMPLETED", "taskIdentifier": "paginate-page",
     "createdAt": "2025-03-01T00:00:00.000Z"}
  ]}
}"""


def test_progress_and_pages_are_read_from_what_the_platform_answers() -> None:
    run = RunState.model_validate_json(EXECUTING)

    assert (run.pages_done, run.pages_total, run.attempt_count) == (2, 8, 1)
    assert [page.id for page in run.pages()] == ["run_2", "run_3"]


def test_a_run_that_has_not_begun_has_no_progress() -> None:
    run = RunState.model_validate_json(
        '{"id": "run_1", "status": "QUEUED", "isCompleted": false, "isSuccess": false}'
    )

    assert (run.pages_done, run.pages_total, run.children, run.error) == (0, None, (), None)

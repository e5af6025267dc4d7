"""The matrix of faults: each row a fault, how often it is to be tried, and the tests that try it.

`make test-faults FAULTS=0.05` runs all rows at a twentieth of their counts and prints a table: tried, right, wrong.
What cannot be tried on a machine is printed as not run, with the reason. Tries are those that a test tells
(`record_property("tried", n)`, hypothesis' examples), else tests.
"""

import argparse
import ast
import os
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, NamedTuple

CHECKOUT = Path(__file__).resolve().parents[2]


class Row(NamedTuple):
    """A fault; `tests` are names of test functions by file below tests/."""

    fault: str
    wanted: str
    tests: dict[str, list[str]]
    absent: str = ""  # why it is not tried, or not all of it

    @property
    def names(self) -> list[str]:
        """Return `file::test` of each."""
        return [f"{file}::test_{name}" for file, names in self.tests.items() for name in names]


A, LARGE, TREE = (f"artifacts/test_{name}.py" for name in ("artifacts", "artifact_large", "tree"))
BAD, IMAGES, MASKS, POINTS = (f"images/test_{name}.py" for name in ("bad_images", "images", "masks", "hostile_points"))
ROWS_OF, LABELS, INDEX, AUDIT = (f"data/test_{name}.py" for name in ("label_rows", "labels", "index", "audit"))
DENSE_DATA, COPIES, SPLITS = (f"data/test_{name}.py" for name in ("masks_and_points", "copies", "splits"))
CONFIG, YAML = (f"project/test_{name}.py" for name in ("config_loading", "hostile_yaml"))
WEIGHTS, PICKLES = (f"encoders/test_{name}.py" for name in ("checkpoints", "pickles"))
EVALUATE, STAGES, RIGHT = (f"tasks/test_{name}.py" for name in ("evaluate", "stages", "right_encoder"))
DENSE = "tasks/maps/test_dense_stages.py"
RERUNS, KILLS, STAGE_FAULTS = (f"workflow/test_{name}.py" for name in ("reruns", "kills", "stage_faults"))
EXTRACT, ENCODE, CACHE = (f"features/test_{name}.py" for name in ("extract", "encode", "cache"))
RESUME = "pretraining/test_resume.py"
SLURM = "slurm/test_faults.py"

ROWS: dict[str, Row] = {
    "C1": Row("exit or SIGKILL at every line of a publish and of a recall", "108", {
        A: ["a_kill_at_any_line_of_publish_leaves_absent_or_whole_and_a_rerun_equal_bytes",
            "a_kill_at_any_line_of_a_recall_leaves_absent_or_whole"]}),
    "C2": Row("SIGKILL of a stage at a random time, the same command again", "200 a stage", {
        STAGE_FAULTS: ["a_stage_killed_at_a_random_time_ends_in_equal_bytes"],
        A: ["a_kill_at_a_random_time_leaves_the_old_or_the_new_file"]}),
    "C3": Row("SIGKILL of Snakemake alone, its orphan lives on", "100", {KILLS: ["the_same_command_again_goes_on"]}),
    "C4": Row("SIGKILL of the whole group, .snakemake lost", "200", {
        KILLS: ["after_a_reboot_the_same_command_goes_on"],
        RERUNS: ["a_lost_snakemake_folder_costs_no_computation"]}),
    "C5": Row("SIGTERM or SIGUSR1 to a stage", "100", {
        STAGES: ["signal_saves_progress_and_the_same_command_ends_in_equal_bytes",
                 "train_on_the_command_line_ends_with_75_when_stopped"],
        ENCODE: ["a_signal_saves_what_is_done_and_the_next_run_goes_on_from_there"],
        RESUME: ["stopped_at_20_random_steps_by_both_signals_the_encoder_is_the_same"]}),
    "C6": Row("requeued, preempted, out of time, node lost", "50, and on SLURM 5 each", {
        SLURM: ["a_training_longer_than_its_time_limit_goes_back_to_the_queue_until_it_is_done",
                "a_training_sent_back_to_the_queue_goes_on",
                "a_lost_node_costs_its_shard_alone_which_is_done_elsewhere"],
        ENCODE: ["a_kill_loses_what_came_after_the_last_part"]}),
    "C7": Row("torchrun, two processes: one or both killed", "30", {
        RESUME: ["two_processes_of_which_one_or_both_are_killed_end_in_the_bytes_of_two_left_alone",
                 "two_processes_train_as_one_does_and_go_on_when_one_or_both_were_killed"]}),
    "C8": Row("two Snakemakes in one folder", "20", {
        "commands/test_unlock_command.py": ["the_lock_of_a_run_that_goes_on_stays"]}),
    "C9": Row("two writers of one output, a reader beside them", "10,000 reads", {
        A: ["two_writers_and_a_reader_see_whole_artefacts_only"]}),
    "C10": Row("a full disk, of sizes from none to 1.1 of what is needed", "64 a stage", {
        STAGE_FAULTS: ["a_stage_on_a_full_disk_says_so_and_ends_in_equal_bytes_when_there_is_room"],
        A: ["a_full_disk_leaves_the_old_artefact_whole", "too_little_space_is_said_before_anything_is_written"],
        LARGE: ["a_full_disk_is_found_before_a_row_is_written"]}),
    "C11": Row("an output or an input that may not be written or read", "8", {
        A: ["a_file_in_place_of_a_folder_is_a_data_error"],
        PICKLES: ["a_file_that_may_not_be_read_now_is_not_called_damaged"],
        "data/test_listing.py": ["a_folder_that_cannot_be_read_is_a_data_error"],
        INDEX: ["an_image_that_cannot_be_opened_is_an_error_and_no_row_for_ever"]}),
    "C12": Row("ENOSPC, EDQUOT, EIO, EROFS, ENOMEM, EMFILE, ESTALE at each step", "100", {
        A: ["a_failing_step_leaves_the_old_artefact_and_no_temporary_file",
            "an_error_of_the_system_is_no_damage_and_nothing_is_dropped"],
        BAD: ["an_error_of_the_system_says_nothing_of_the_image"]}),
    "C13": Row("files touched, or changed with an old date", "10", {
        INDEX: ["a_touched_file_is_read_again_and_changes_its_date_alone",
                "only_changed_and_new_files_are_read_again"]}),
    "C14": Row("a worker killed as for memory; a decoder without memory", "20", {
        "images/test_parallel.py": ["a_killed_worker_ends_the_work_with_a_message"],
        ENCODE: ["a_killed_worker_ends_the_command_with_a_message"],
        BAD: ["a_decoder_without_memory_says_nothing_of_the_image"]}),
    "C15": Row("other workers, threads, hash seed, time zone, folder", "16", {
        A: ["equal_input_gives_equal_bytes_whatever_the_hash_seed"],
        EXTRACT: ["settings_of_the_machine_change_no_byte_and_no_key", "bits_depend_on_neither_batch_nor_threads"],
        INDEX: ["several_processes_give_the_same_bytes"],
        LABELS: ["another_place_of_the_same_dataset_gives_the_same_bytes"]}),
    "C16": Row("HDF5 without locks on NFS or Lustre", "1 by hand", {}, "no NFS here (reads open with locking=False)"),
    "A1": Row("a bit flipped; cut, appended, zeroed, foreign", "1,000 flips a kind", {
        A: ["every_flipped_bit_is_found", "a_truncated_appended_zeroed_or_foreign_file_is_refused"],
        LARGE: ["one_changed_byte_of_a_large_file_is_found", "a_damaged_archive_is_found"],
        CACHE: ["a_flipped_bit_anywhere_is_noticed_on_opening"]}),
    "A2": Row("metadata missing, stale, foreign, newer, senseless", "36", {
        TREE: ["another_tasks_or_runs_artefact_is_refused", "senseless_metadata_are_an_error",
               "an_older_one_put_back_is_refused_though_it_is_whole_and_of_the_same_inputs",
               "sealed_again_with_a_foreign_schema_or_stage_it_is_refused"],
        "artifacts/test_sealed_nonsense.py": ["metadata_that_make_no_sense_are_read_or_refused"]}),
    "A3": Row("a key of the config or a stage's version changed: who runs again", "40 keys", {
        RERUNS: ["an_edit_computes_what_it_touches_and_ends_like_a_clean_run",
                 "a_second_run_does_nothing_and_says_where_the_page_is"]}),
    "A4": Row("an index that changed after the features", "1", {
        EXTRACT: ["an_image_that_changed_since_index_fails_and_the_old_file_stays"],
        CACHE: ["a_missing_row_and_a_row_of_other_bytes_are_both_named"]}),
    "I1": Row("images cut at a random byte, or filled with zeros", "500 a format", {
        BAD: ["a_file_cut_anywhere_is_called_truncated", "a_half_copied_file_filled_with_zeros_is_refused_or_noted"]}),
    "I2": Row("empty files, folders, FIFOs, devices, broken links", "10", {
        BAD: ["what_is_no_regular_file_is_a_reason_and_never_a_hang",
              "an_image_that_became_a_fifo_or_a_file_of_the_kernel_is_not_opened"],
        DENSE_DATA: ["what_is_no_regular_file_among_masks_is_named_and_never_a_hang",
                     "a_table_that_is_a_fifo_is_named_and_never_a_hang"]}),
    "I3": Row("flipped bits in images", "300", {
        BAD: ["flipped_bits_give_pixels_or_a_reason_and_both_functions_agree",
              "every_chunk_of_a_png_is_checked_and_bytes_after_its_end_do_not_matter"]}),
    "I4": Row("headers of huge images, chains of very many frames", "12", {
        BAD: ["huge_headers_are_refused_in_a_moment_with_little_memory", "a_tiff_whose_pages_point_in_a_circle_ends",
              "a_chain_of_very_many_frames_is_counted_in_a_moment",
              "the_limit_is_ours_from_the_header_and_can_be_raised"]}),
    "I5": Row("16 bits per sample, floats", "8", {
        IMAGES: ["a_16_bit_grey_ramp_keeps_its_256_levels", "16_bit_rgb_tiff_keeps_its_high_byte",
                 "16_bit_rgb_png_keeps_its_high_byte",
                 "pixels_without_a_certain_meaning_as_eight_bits_are_unsupported"]}),
    "I6": Row("CMYK, palettes, alpha, 1 bit", "12", {
        IMAGES: ["alpha_is_composited_on_black_and_hidden_colour_stays_hidden", "one_transparent_colour_becomes_black",
                 "palette_one_bit_and_grey_become_rgb", "cmyk_and_ycck_become_rgb"]}),
    "I7": Row("several images in a file", "6", {BAD: ["a_file_with_several_images_needs_to_be_told_which"]}),
    "I8": Row("orientations of EXIF, with masks and points", "24", {
        IMAGES: ["exif_orientation_is_applied_once"], MASKS: ["a_mask_follows_its_image_through_the_exif_rotation"],
        DENSE_DATA: ["points_and_masks_are_those_of_the_upright_image"]}),
    "I9": Row("extreme shapes", "6", {IMAGES: ["extreme_shapes_decode_and_resize"]}),
    "I10": Row("other formats under any suffix", "6", {
        BAD: ["other_formats_are_refused_by_content_whatever_the_suffix"]}),
    "I11": Row("random bytes as images (`make fuzz` is the long run)", "1 h", {BAD: ["random_bytes_give_a_reason"]}),
    "L1": Row("lines of labels as no software should write them", "20,000", {
        ROWS_OF: ["any_bytes_give_rows_of_known_images_or_problems", "any_table_gives_rows_or_problems",
                  "any_text_is_a_finite_number_or_none", "all_wrong_lines_are_named_at_once"]}),
    "L2": Row("labels without images, twice, in two splits", "8", {
        ROWS_OF: ["labels_of_the_same_image_in_both_files_are_a_problem", "a_split_with_images_needs_its_label_file"],
        LABELS: ["equal_bytes_never_stand_in_two_splits",
                 "all_mistakes_of_a_dataset_are_named_at_once_and_nothing_is_written"]}),
    "L3": Row("paths that leave the root", "100,000", {ROWS_OF: ["no_path_of_a_label_file_leaves_the_root"]}),
    "L4": Row("masks and points that do not fit", "12", {
        MASKS: ["what_is_no_mask_is_refused_by_name", "values_outside_the_classes_are_named"],
        POINTS: ["headers_that_make_no_sense_are_refused", "changed_bytes_are_read_or_refused"]}),
    "L5": Row("configs that are none", "60", {
        CONFIG: ["any_text_gives_a_config_error", "any_change_of_values_gives_a_config_or_a_config_error",
                 "keys_that_stand_twice_are_errors_at_any_depth", "octals_and_no_do_not_become_numbers_or_false"],
        YAML: ["what_no_config_says_is_refused_soon", "changed_configs_are_read_or_refused"]}),
    "L6": Row("names with signs of the shell, braces in texts", "20", {
        CONFIG: ["names_that_could_not_be_paths_are_refused"],
        "workflow/test_settings_travel.py": ["braces_in_a_free_text_stop_no_run"],
        "project/test_config_references.py": ["no_text_has_control_characters"]}),
    "M1": Row("planted leaks between splits and datasets", "10", {
        AUDIT: ["every_planted_leak_is_found", "leaks_between_any_two_splits_are_found",
                "a_subject_in_two_datasets_of_a_task_is_found"]}),
    "M2": Row("near-duplicates", "200 planted, 10,000 pairs", {
        COPIES: ["planted_copies_are_found_and_nothing_else",
                 "fellow_eyes_and_two_visits_of_one_eye_are_no_copies"]}),
    "M3": Row("test labels shuffled", "every kind", {
        RERUNS: ["shuffled_test_labels_leave_every_decoder_byte_equal"],
        STAGES: ["shuffled_test_labels_leave_the_decoder_byte_equal"],
        DENSE: ["the_truth_of_test_images_changes_no_decoder"]}),
    "M4": Row("few subjects or classes for a validation split", "500", {
        SPLITS: ["validation_and_training_are_never_empty_where_a_stratum_has_two_groups_left",
                 "subjects_and_equal_bytes_are_never_divided"]}),
    "M5": Row("NaN and infinity in features and losses, constant features", "12", {
        STAGES: ["nan_in_a_feature_names_the_image_and_writes_nothing",
                 "features_without_any_difference_are_an_error"],
        EXTRACT: ["features_that_float16_cannot_hold_name_the_image"],
        "tasks/vectors/test_training.py": ["infinite_loss_names_epoch_and_step"]}),
    "M6": Row("classes that a split lacks, single samples, ties", "20, and 1,000 samples by scikit-learn", {
        "metrics/test_metrics.py": ["ranking_metrics_are_those_of_scikit_learn_on_a_thousand_random_samples",
                                    "a_binary_metric_without_a_value_says_why"],
        EVALUATE: ["a_test_split_without_positive_cases_gives_nulls_with_reasons_and_a_warning",
                   "the_macro_mean_leaves_absent_classes_out_and_counts_them"]}),
    "M7": Row("another encoder, modality, question; keys and shapes that do not fit", "12", {
        RIGHT: ["any_other_is_refused", "another_question_is_refused"],
        WEIGHTS: ["a_file_without_a_network_says_so"], CACHE: ["encoders_of_different_width_are_not_pooled"]}),
    "M8": Row("rows in another order on disk", "20", {
        STAGES: ["order_of_rows_on_disk_changes_nothing"],
        EVALUATE: ["equal_predictions_give_equal_bytes_whatever_the_order_of_files_and_rows"]}),
    "M9": Row("planted signs are learned, permuted labels are not", "every kind", {
        STAGES: ["planted_sign_is_learned_and_predicted_per_sample", "planted_value_is_learned_in_its_unit",
                 "permuted_labels_are_not_learned"],
        DENSE: ["discs_are_found_and_masks_have_the_originals_size_name_and_values"]}),
    "S1": Row("hostile weights (`make fuzz`: changed bytes)", "40, and 100,000 changed", {
        WEIGHTS: ["a_poisoned_file_is_refused_names_its_globals_and_runs_nothing", "every_truncation_is_refused",
                  "a_zip_bomb_is_refused_from_its_directory",
                  "a_tensor_that_claims_more_than_is_stored_is_refused"],
        PICKLES: ["hostile_pickles_end_in_an_error", "a_demand_for_memory_takes_none"]}),
    "S2": Row("the dialects of published weights", "4", {
        WEIGHTS: ["the_upstream_dialect_with_namespace_and_numpy_scalars_loads",
                  "numpy_1_names_of_the_same_scalars_load"]}),
    "S3": Row("weights of another digest", "1", {
        "encoders/test_importing.py": ["weights_that_differ_from_their_checksum_are_refused_unread"]}),
    "S4": Row("unsafe calls in the code", "all", {"test_forbidden.py": ["the_package_never_does_what_is_unsafe"]}),
    "S5": Row("no network", "1", {
        "workflow/test_no_network.py": ["without_a_network_every_stage_writes_the_same_bytes_and_asks_for_none"]}),
    "S6": Row("names, ids and roots in what leaves the hospital", "50 planted texts", {
        "report/test_report_privacy.py": ["a_page_carries_of_patients_what_its_config_says"],
        "report/test_report.py": ["page_holds_no_absolute_path"],
        "data/test_headers.py": ["no_id_of_a_person_enters_results"]}),
    "S7": Row("rights of files by umask", "3", {A: ["files_have_the_rights_that_the_umask_leaves"]}),
    "S8": Row("packages that drift", "every run", {
        "test_locks.py": ["the_lock_for_tests_has_a_user_s_packages_in_the_same_versions"]}),
    "S9": Row("markup in names", "6", {"report/test_report.py": ["names_that_users_chose_are_escaped_everywhere"]}),
}  # fmt: skip


class Results:
    """A plugin of pytest that counts tries and outcomes by test function."""

    def __init__(self) -> None:
        """Nothing is counted yet."""
        self.tried: Counter[str] = Counter()
        self.wrong: dict[str, list[str]] = defaultdict(list)
        self.skipped: dict[str, str] = {}
        self.examples: dict[str, int] = {}

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        """Note how many examples hypothesis makes of a test."""
        for item in items:
            if found := getattr(item.function, "_hypothesis_internal_use_settings", None):
                self.examples[item.nodeid] = found.max_examples

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Count a test's tries when it has run."""
        name = report.nodeid.partition("[")[0].removeprefix("tests/")
        if report.skipped:
            self.skipped[name] = str(report.longrepr[2]).removeprefix("Skipped: ")
        elif report.failed:
            self.wrong[name].append(report.nodeid)
            self.tried[name] += report.when != "call"
        if report.when == "call" and not report.skipped:
            told = [int(value) for key, value in report.user_properties if key == "tried"]
            self.tried[name] += sum(told) if told else self.examples.get(report.nodeid, 1)


def lines(results: Results, chosen: list[str], slow: bool) -> list[str]:
    """Return the table."""
    found = ["| row | fault | wanted | tried | right | wrong |", "|---|---|---|---|---|---|"]
    for number in chosen:
        row = ROWS[number]
        tried = sum(results.tried[name] for name in row.names)
        wrong = sum(len(results.wrong[name]) for name in row.names)
        left = [name for name in row.names if not results.tried[name]]
        why = {row.absent, *(results.skipped.get(name, "ended" if slow else "takes minutes") for name in left)} - {""}
        note = f" ({len(left)} of {len(row.names)} tests not run: {', '.join(sorted(why))})" if why and tried else ""
        counts = f"{tried:,} | {tried - wrong:,} | {wrong}" if tried else f"not run: {', '.join(sorted(why))} | |"
        found.append(f"| {number} | {row.fault}{note} | {row.wanted} | {counts} |")
    return found


def missing() -> list[str]:
    """Return what rows name that is no test."""
    known: dict[str, set[str]] = {}
    for file in {file for row in ROWS.values() for file in row.tests}:
        body = ast.parse((CHECKOUT / "tests" / file).read_text()).body
        known[file] = {node.name for node in body if isinstance(node, ast.FunctionDef)}
    names = [name for row in ROWS.values() for name in row.names]
    return [name for name in names if name.partition("::")[2] not in known[name.partition("::")[0]]]


def main() -> int:
    """Run the rows; 1 where one is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--slow", action="store_true", help="also the tests that take minutes")
    args, more = parser.parse_known_args()
    import pytest

    results = Results()
    tests = dict.fromkeys(f"tests/{name}" for number in args.rows for name in ROWS[number].names)
    os.chdir(CHECKOUT)
    pytest.main(["-q", "-m", "" if args.slow else "not slow", *more, *tests], plugins=[results])
    print(f"FAULTS={os.environ.get('FAULTS', 'as in the ordinary tests')}")
    print(*lines(results, args.rows, args.slow), sep="\n")
    for names in results.wrong.values():
        print(*names, sep="\n")
    return int(any(results.wrong.values()))


if __name__ == "__main__":
    sys.exit(main())

//! What every [`leasehold_core::ports::LeaseStore`] has to do: one list of cases, which each store
//! passes, and beside it what only one kind of store can be put through.

mod checkpoints;
mod file;
mod kubernetes;
mod place;
mod races;
mod scripted;
mod watches;
mod writes;

/// Each case, for each store, as a test of its own.
macro_rules! every_store_passes {
    ($($module:ident::$case:ident,)+) => {
        mod file_store {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                crate::$module::$case::<crate::file::InFolder>().await;
            })+
        }

        mod kubernetes_store {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                crate::$module::$case::<crate::kubernetes::InCluster>().await;
            })+
        }

        mod kubernetes_store_with_a_shared_watch {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                crate::$module::$case::<crate::kubernetes::AmongMany>().await;
            })+
        }
    };
}

every_store_passes! {
    writes::a_lease_that_is_not_there_is_read_as_missing,
    writes::a_lease_that_was_made_is_read_as_it_was_written,
    writes::a_lease_is_not_made_twice,
    writes::an_update_of_the_right_version_replaces_the_record,
    writes::an_update_of_an_old_version_conflicts_and_writes_nothing,
    writes::an_edit_between_read_and_write_conflicts_and_is_kept,
    writes::a_deleted_lease_is_neither_updated_nor_made_again_by_an_update,
    writes::versions_grow_also_over_deletions,
    writes::every_field_is_read_as_it_was_written,
    writes::an_empty_or_absent_holder_is_free,
    writes::a_missing_duration_is_read_as_missing,
    writes::what_others_wrote_beside_the_record_is_kept,
    writes::a_request_to_step_down_is_seen_by_the_holder_and_gone_when_it_is_cleared,
    checkpoints::a_checkpoint_is_read_by_the_next_holder_as_it_was_saved,
    checkpoints::a_save_on_an_old_version_conflicts_and_leaves_what_is_there,
    checkpoints::renewals_releases_and_takeovers_keep_the_checkpoint,
    checkpoints::text_that_nobody_saved_is_told_as_such_and_kept_as_it_is,
    checkpoints::a_checkpoint_goes_with_its_lease_and_can_be_removed_by_itself,
    races::of_two_updates_of_one_version_exactly_one_wins,
    races::of_two_creations_exactly_one_wins,
    races::a_write_may_be_dropped_at_any_time,
    races::a_watch_may_be_dropped_at_any_time,
    watches::a_watch_first_tells_what_is_there,
    watches::a_watch_first_tells_that_nothing_is_there,
    watches::a_watch_tells_each_write_with_the_version_that_was_returned,
    watches::a_watch_tells_the_last_of_many_writes_and_never_goes_back,
    watches::a_watch_tells_what_somebody_else_wrote,
    watches::a_watch_tells_a_deletion_as_newer_than_the_record_and_older_than_the_next,
}

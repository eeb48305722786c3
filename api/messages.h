/* SPDX-License-Identifier: MIT */
/*
 * What the daemon tells the system's journal, by the number that an entry carries as MESSAGE_ID=.
 * units/updd.catalog explains each of them (journalctl -x); a test holds the two together. A number
 * is never changed nor used again.
 */
#pragma once

/* A job has come to this state. */
#define MESSAGE_JOB_QUEUED "507e539be1f5323504af15c1312a2111"
#define MESSAGE_JOB_RUNNING "712f3b69a7e43bfef1e6b22ea7f33803"
#define MESSAGE_JOB_WAITING "b4d070f5995f33c122b19154a038c74b"
#define MESSAGE_JOB_ROLLING_BACK "cb4c3707d4f26f5418af6f24ec9c99f9"
#define MESSAGE_JOB_STUCK "8bfa89cff7c3a2257753183e02a75b0e"
#define MESSAGE_JOB_SUCCEEDED "8fd6eba03fe2567efe9442a0221e8c34"
#define MESSAGE_JOB_FAILED "84571fbee02c8e0d326522f96265cbf8"
#define MESSAGE_JOB_ROLLED_BACK "7f5b5fd6b3d89649addd16051c27c135"
#define MESSAGE_JOB_CANCELLED "866eec4a50d255df81f2cdb81a303300"
#define MESSAGE_JOB_ABANDONED "8d87d2f3efc5171f664b1f8727293444"

/* A step, in one of its attempts. */
#define MESSAGE_STEP_STARTED "66b85546822da6a4aade77a30bef90b7"
#define MESSAGE_STEP_DONE "285e0493b3ec3be3223ef0d6f63d1743"
#define MESSAGE_STEP_FAILED "e05631c258d16ac1ce278ed35973c88c"
#define MESSAGE_STEP_INTERRUPTED "090f8191b30a230e4aa602dddcea21be"
#define MESSAGE_STEP_RETRY "c9a47d80b9f28d167a48f7d863617eca"
#define MESSAGE_STEP_SKIPPED "131ffb5e7d4970e0fb71e218cd87218e"
#define MESSAGE_STEP_UNDOING "1dee0da74485d2788a8628150d1f7552"
#define MESSAGE_STEP_UNDONE "88cb023e7524a9ffe8c35016b09f5b02"
#define MESSAGE_STEP_LEFT "e960e5cc390c8b94b13f8c218fece9b9"
#define MESSAGE_STEP_UNDO_FAILED "1525cc94cd09b6fe18998e11da1e3b43"

/* What people decided, or did not. */
#define MESSAGE_WAIT_OPENED "97f616c2090617b45ecb5bf92d845a92"
#define MESSAGE_DECIDED "edb47eee1d98f8ec4e60a8dfa70d8130"
#define MESSAGE_DEADLINE_MISSED "d86096247c92139854f82daf6fa8e9f1"
#define MESSAGE_HOOK_FAILED "22a00ec44ee88b3abbf496092a71546f"

/* The daemon itself. */
#define MESSAGE_DAEMON_STARTED "d8c9ae43f5be2cf0ab4dce72825a69c4"
#define MESSAGE_DAEMON_ENDING "7ab79f7bdc09adffea9f8fbfa5051cd5"
#define MESSAGE_DAEMON_DIED "2c47c627499df6c146fafa3487c1b526"
#define MESSAGE_DAEMON_RELOADED "c06d58b97b76e6e02948feaef013dea4"
#define MESSAGE_RELOAD_REFUSED "9004a42acc095a026df4c69d2092d115"
#define MESSAGE_STORE_SICK "07f3ea43680ef06e687187e6b08496b3"
#define MESSAGE_STORE_WELL "f7c2f40d6de8a49f80b5ee9a7d48201a"
#define MESSAGE_STORE_DAMAGED "7b945caaedc14f120aa6870351283a7f"

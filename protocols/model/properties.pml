/* What must hold. MUST names the property in the trail (spin prints it), then stops the search. */

mtype = {
  stale_frame,          /* a frame of a session that is over, or of an owner who was taken over, has an effect */
  opens_once,           /* a SESSION_OPEN that was answered opens a session later */
  session_boot,         /* a host believes in a session that the card opened in another boot */
  one_owner,            /* two hosts believe to own the same session of a card */
  generation_used_once, /* two lives of a host use the same generation */
  at_most_once,         /* a command runs twice */
  command_boot,         /* a command runs in another boot than the one it was meant for */
  command_epoch,        /* a command runs on another role than the one it was meant for */
  kill_boundary,        /* a KILL ends a command that was given after it was answered */
  reply_of_attempt,     /* a host takes the reply to one command for that to another */
  done_is_durable,      /* what a host believes done did not happen on the card, or is gone from it */
  verified_is_right,    /* a card calls bytes verified that are not the object's */
  commit_of_verified,   /* a card loads bytes that are not a verified image, or not the one meant */
  commit_once,          /* a COMMIT loads twice */
  commit_epoch,         /* a COMMIT loads over another role than the one it was meant to replace */
  blocks_kept,          /* a block that was taken is missing again without a new INVALIDATE */
  id_fits               /* a counter left its range: the budgets of the configuration are wrong */
}

#define MUST(property, condition) \
  if :: (condition) :: else -> printf("VIOLATED %e\n", property); assert(false) fi

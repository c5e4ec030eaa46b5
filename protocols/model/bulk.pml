/* One bulk engine, then COMMIT: images of two blocks to one or two cards, by one host that may restart.
 *
 * What session.pml shows is taken for granted: a frame of another session does nothing. A session opens in one step on
 * both sides, and frames of the one before are gone. Within a session a frame is a bit that stays, as there. DATA is
 * untagged and outlives sessions; a forger's block arrives whenever a transfer would take it. A rival's takeover is one
 * step: all is forgotten. Each card has one image slot, with one leaf of the digest tree to a block.
 */

#ifndef CARDS
#define CARDS 1
#endif
#ifndef REQUESTS
#define REQUESTS 2      /* programs */
#endif
#ifndef IMAGES
#define IMAGES 2
#endif
#ifndef SESSIONS_OPENED
#define SESSIONS_OPENED 3 /* on each card */
#endif
#ifndef RESTARTS
#define RESTARTS 1
#endif
#ifndef REBOOTS
#define REBOOTS 1
#endif
#ifndef SCRUBS
#define SCRUBS 0        /* takeovers by a rival */
#endif
#ifndef LAPSES
#define LAPSES 1        /* leases that end, cards that fall silent for the host */
#endif
#ifndef POISONED
#define POISONED 1      /* forged blocks that are taken */
#endif
#ifndef GIVE_UPS
#define GIVE_UPS 1      /* deadlines that pass */
#endif
#ifndef REPAIRS
#define REPAIRS 2       /* tried for each member; the last may not be needed */
#endif

#define BIT(a) (1 << (a))
#define ALL 3

/* transfer_state, without those a card passes in one step */
#define UNUSED 0
#define RECEIVING 1
#define VERIFYING 2
#define VERIFIED 3
#define BAD 4
/* of a member besides: */
#define OPENING 5
#define READING 6       /* leaf digests */
#define INVALIDATING 7
#define FAILED 8

#define OK 1
#define REFUSED 2

typedef Card {
  unsigned session : 3;
  bit owned;               /* by our host, or nobody since */
  unsigned transfer : 3;   /* in the context */
  unsigned state : 3;
  unsigned have : 2;       /* bitmap, a bit for each block taken */
  unsigned good : 2;       /* content: blocks that are right, in memory */
  unsigned hashed : 2;     /* leaves digested ... */
  unsigned right : 2;      /* ... and equal to the object's */
  bit guarded;
  unsigned repair : 2;
  unsigned newest : 3;     /* transfer id */
  unsigned outcome : 3;    /* a verified transfer whose context went to another */
  unsigned image : 2;      /* named by what is in the slot */
  unsigned commit : 2;     /* newest id */
  unsigned phase : 2;      /* 0: none under way, 1: drain, 2: feed */
  unsigned loading : 2;    /* the image COMMIT named */
  unsigned reply : 2;      /* stored: OK or REFUSED */
  unsigned role : 2;       /* image loaded */
  unsigned epoch : 3;
  unsigned taken : 2;      /* history: blocks written since they were last asked to be forgotten */
  unsigned loaded : 4      /* history: commit ids that loaded */
};

/* What the host knows of a card, and its part in the request under way. */
typedef Member {
  unsigned session : 3;
  unsigned state : 4;
  unsigned repairs : 2;
  unsigned repair : 2;
  unsigned image : 2;      /* staged there, it believes */
  unsigned commit : 2;     /* newest id */
  unsigned programmed : 2; /* COMMIT: 0 not asked, 3 asked, OK, REFUSED */
  unsigned epoch : 3
};

/* Frames of the session that are about. Answers are those to the question under way. */
typedef Flight {
  byte open;               /* XFER_OPEN, a bit for each transfer */
  byte abort;              /* ABORT, likewise */
  byte unwanted;           /* host: XFER_OPENs given up, asked on until they are answered, then aborted */
  unsigned ready : 4;      /* READY: bit RECEIVING, VERIFIED, UNUSED for stale */
  bit poll;
  bit nack;                /* NACK: nothing is missing */
  bit close;               /* CLOSE, of this or an earlier question */
  bit closing;             /* ... of this one */
  byte verdict;            /* VERDICT: bit VERIFIED, BAD, RECEIVING for blocks missing */
  unsigned invalidate : 4; /* INVALIDATE, a bit for each repair id */
  unsigned forget_1 : 2;   /* their ranges */
  unsigned forget_2 : 2;
  bit invalidated;
  unsigned guarded : 2;    /* GUARDED blocks */
  unsigned commits : 4;    /* COMMIT, a bit for each id */
  unsigned committed : 3   /* COMMITTED: bit OK, REFUSED */
};

Card card[CARDS];
Member member[CARDS];
Flight flight[CARDS];
unsigned transfer : 3;      /* host: id of the transfer under way */
unsigned next_transfer : 3 = 1;
unsigned image : 2;         /* of the request under way */
bit staging;
bit committing;
byte image_of[8];           /* of a transfer: what XFER_OPEN's digest names */
byte commit_image[CARDS * 4];
byte commit_over[CARDS * 4];
byte sent;                  /* transfers whose DATA went out */
byte sessions_left[CARDS] = SESSIONS_OPENED;
unsigned requests_left : 2 = REQUESTS;
unsigned restarts_left : 2 = RESTARTS;
unsigned reboots_left : 2 = REBOOTS;
unsigned scrubs_left : 2 = SCRUBS;
unsigned lapses_left : 2 = LAPSES;
unsigned poison_left : 2 = POISONED;
unsigned give_ups_left : 2 = GIVE_UPS;
bit calm;

#define HERE(c) (member[c].session && member[c].session == card[c].session)
#define ENDED(c) (member[c].state == VERIFIED || member[c].state == FAILED || member[c].state == UNUSED)
#define OVER(c) (card[c].state == VERIFIED || card[c].transfer == 0)
#if CARDS == 2
#define EACH(what) (what(0) && what(1))
#else
#define EACH(what) (what(0))
#endif

/* -- card ------------------------------------------------------------------------------------------------------ */

inline clear_slot(c) {
  card[c].image = 0; card[c].have = 0; card[c].good = 0; card[c].hashed = 0; card[c].right = 0; card[c].taken = 0
}

inline forget_all(c) {
  clear_slot(c);
  card[c].session = 0; card[c].owned = 0; card[c].transfer = 0; card[c].state = UNUSED; card[c].guarded = 0;
  card[c].repair = 0; card[c].newest = 0; card[c].outcome = 0; card[c].commit = 0; card[c].phase = 0;
  card[c].loading = 0; card[c].reply = 0; card[c].role = 0; card[c].loaded = 0
}

inline begin_transfer(c, t) {
  if
  :: card[c].transfer -> card[c].outcome = card[c].transfer
  :: else
  fi;
  card[c].newest = t; card[c].transfer = t; card[c].guarded = 0; card[c].repair = 0;
  if
  :: card[c].state == VERIFIED && card[c].image == image_of[t] -> skip /* the slot holds it */
  :: else -> clear_slot(c); card[c].image = image_of[t]; card[c].state = RECEIVING
  fi;
  printf("card %d: transfer %d of image %d, state %d\n", c, t, image_of[t], card[c].state)
}

inline on_open(c, t) {
  if
  :: t == card[c].transfer ->
#ifdef BROKEN_BITMAP_CLEARED
     if :: card[c].state == RECEIVING -> card[c].have = 0; card[c].hashed = 0; card[c].right = 0 :: else fi;
#endif
     skip
  :: t != card[c].transfer && t == card[c].outcome -> skip
  :: t != card[c].transfer && t != card[c].outcome && t <= card[c].newest -> skip
  :: else -> begin_transfer(c, t)
  fi;
  MUST(blocks_kept, (card[c].taken & ~card[c].have & ALL) == 0);
  if
  :: t != transfer
  :: else ->
     if
     :: t == card[c].transfer && card[c].state == VERIFIED -> flight[c].ready = flight[c].ready | BIT(VERIFIED)
     :: t == card[c].outcome && t != card[c].transfer -> flight[c].ready = flight[c].ready | BIT(VERIFIED)
     :: t == card[c].transfer && card[c].state != VERIFIED -> flight[c].ready = flight[c].ready | BIT(RECEIVING)
     :: else -> flight[c].ready = flight[c].ready | BIT(UNUSED)
     fi
  fi
}

/* XFER_OPEN, unless it is told BUSY or has nothing new to say. */
#define ANSWERED_OPEN(c, t) (t != transfer || flight[c].ready)
#define TAKES_OPEN(c, t) (t == card[c].transfer || t <= card[c].newest || (OVER(c) && card[c].phase == 0))
#ifdef BROKEN_BITMAP_CLEARED
#define MAY_OPEN(t) (HERE(c) && (flight[c].open & BIT(t)) && TAKES_OPEN(c, t))
#else
#define MAY_OPEN(t) (HERE(c) && (flight[c].open & BIT(t)) && TAKES_OPEN(c, t) && \
  (t > card[c].newest || !ANSWERED_OPEN(c, t)))
#endif
#define PICK_TRANSFER(may) \
  if :: may(1) -> n = 1 :: may(2) -> n = 2 :: may(3) -> n = 3 :: may(4) -> n = 4 :: may(5) -> n = 5 \
  :: may(6) -> n = 6 fi

#ifdef BROKEN_FENCE
#define WRITES(c, b) ((card[c].state == RECEIVING || card[c].state == VERIFYING) && !card[c].guarded)
#else
#define WRITES(c, b) (card[c].state == RECEIVING && !(card[c].have & BIT(b)) && !card[c].guarded)
#endif
#define MAY_DATA(b) (card[c].session && WRITES(c, b) && (sent & BIT(card[c].transfer)) && !(card[c].have & BIT(b)))
#define MAY_POISON(b) (card[c].session && WRITES(c, b) && poison_left && !calm)
#define MAY_GUARDED(b) (HERE(c) && card[c].state == RECEIVING && card[c].transfer == transfer && \
  (flight[c].guarded & BIT(b)) && !(card[c].have & BIT(b)))

inline write(c, b) {
  card[c].have = card[c].have | BIT(b); card[c].good = card[c].good | BIT(b); card[c].taken = card[c].taken | BIT(b)
}

/* Leaves behind the lowest missing block. */
#define READY_LEAVES(c) (card[c].have == 3 -> 3 : (card[c].have & 1))
#define MAY_HASH(c) ((card[c].state == RECEIVING || card[c].state == VERIFYING) && \
  (READY_LEAVES(c) & ~card[c].hashed & ALL))

inline hash(c) {
  card[c].right = (card[c].right & card[c].hashed) | (card[c].good & READY_LEAVES(c) & ~card[c].hashed);
  card[c].hashed = card[c].hashed | READY_LEAVES(c)
}

#define ANSWERS_CLOSE(c) \
  if \
  :: HERE(c) && flight[c].closing && card[c].transfer == transfer && \
     (card[c].state == VERIFIED || card[c].state == BAD || card[c].state == RECEIVING) -> \
     flight[c].verdict = flight[c].verdict | BIT(card[c].state) \
  :: else \
  fi

#ifdef BROKEN_MISSING_BLOCKS
#define MAY_SEAL(c) (card[c].state == RECEIVING && card[c].have)
#define MAY_CONCLUDE(c) (card[c].state == VERIFYING && card[c].hashed == READY_LEAVES(c))
#define IS_RIGHT(c) (card[c].right == card[c].hashed)
#else
#define MAY_SEAL(c) (card[c].state == RECEIVING && card[c].have == ALL)
#define MAY_CONCLUDE(c) (card[c].state == VERIFYING && card[c].hashed == ALL)
#define IS_RIGHT(c) (card[c].right == ALL)
#endif
#define MAY_CLOSE(c) (HERE(c) && flight[c].close && card[c].transfer == transfer && \
  (MAY_SEAL(c) || (flight[c].closing && card[c].state != VERIFYING && !(flight[c].verdict & BIT(card[c].state)))))

inline on_close(c) {
  if
  :: MAY_SEAL(c) -> card[c].state = VERIFYING; printf("card %d: sealed\n", c)
  :: else
  fi;
  ANSWERS_CLOSE(c)
}

inline conclude(c) {
  if
  :: IS_RIGHT(c) ->
     card[c].state = VERIFIED; card[c].guarded = 0;
     printf("card %d: verified, right blocks %d\n", c, card[c].good);
     MUST(verified_is_right, card[c].good == ALL)
  :: else -> card[c].state = BAD; printf("card %d: digest mismatch\n", c)
  fi;
  ANSWERS_CLOSE(c)
}

#ifdef BROKEN_INVALIDATE_REPEATS
#define NEW_REPAIR(c, r) (r >= card[c].repair)
#else
#define NEW_REPAIR(c, r) (r > card[c].repair)
#endif
#define CAN_INVALIDATE(c) (card[c].transfer == transfer && card[c].state != VERIFIED)
#define MAY_INVALIDATE(r) (HERE(c) && (flight[c].invalidate & BIT(r)) && CAN_INVALIDATE(c) && \
  (NEW_REPAIR(c, r) || (r == member[c].repair && member[c].state == INVALIDATING && !flight[c].invalidated)))

inline on_invalidate(c, r) {
  if
  :: NEW_REPAIR(c, r) ->
     m = (r == 1 -> flight[c].forget_1 : flight[c].forget_2);
     if :: r > card[c].repair -> card[c].taken = card[c].taken & ~m :: else fi;
     card[c].repair = r; card[c].guarded = 1; card[c].state = RECEIVING;
     card[c].have = card[c].have & ~m; card[c].hashed = card[c].hashed & ~m; card[c].right = card[c].right & ~m;
     printf("card %d: forgets blocks %d, repair %d\n", c, m, r);
     MUST(blocks_kept, (card[c].taken & ~card[c].have & ALL) == 0);
     m = 0
  :: else
  fi;
  if :: r == member[c].repair -> flight[c].invalidated = 1 :: else fi
}

/* ABORT is asked until it is answered, which ends that. */
#define MAY_ABORT(t) (HERE(c) && (flight[c].abort & BIT(t)))

inline on_abort(c, t) {
  if
  :: card[c].transfer == t && !OVER(c) ->
     printf("card %d: transfer %d is given up\n", c, t);
     clear_slot(c); card[c].transfer = 0; card[c].state = UNUSED; card[c].guarded = 0; card[c].repair = 0
  :: else
  fi;
  if
  :: flight[c].abort = flight[c].abort & ~BIT(t)
  :: !calm
  fi
}

/* COMMIT k. */
#define MAY_COMMIT(k) (HERE(c) && (flight[c].commits & BIT(k)) && \
  ((k > card[c].commit && card[c].phase == 0) || MAY_REPEAT(k)))
#ifdef BROKEN_COMMIT_REPEATS
#define MAY_REPEAT(k) (k == card[c].commit && card[c].phase == 0)
#else
#define MAY_REPEAT(k) (k == card[c].commit && card[c].phase == 0 && k == member[c].commit && \
  member[c].programmed == 3 && !flight[c].committed)
#endif
#ifdef BROKEN_COMMIT_UNVERIFIED
#define STAGED(c, with) (card[c].image == with)
#else
#define STAGED(c, with) (card[c].image == with && card[c].state == VERIFIED)
#endif
#ifdef BROKEN_COMMIT_EPOCH
#define RIGHT_EPOCH(c, k) true
#else
#define RIGHT_EPOCH(c, k) (commit_over[(c) * 4 + k] == card[c].epoch)
#endif

inline tell_commit(c) {
  if
  :: HERE(c) && member[c].commit == card[c].commit && member[c].programmed == 3 ->
     flight[c].committed = flight[c].committed | BIT(card[c].reply)
  :: else
  fi
}

inline on_commit(c, k) {
  if
#ifndef BROKEN_COMMIT_REPEATS
  :: k == card[c].commit -> tell_commit(c)
#endif
  :: else ->
     card[c].commit = k;
     if
     :: STAGED(c, commit_image[(c) * 4 + k]) && RIGHT_EPOCH(c, k) ->
        MUST(commit_epoch, commit_over[(c) * 4 + k] == card[c].epoch || (card[c].loaded & BIT(k)));
        card[c].phase = 1; card[c].loading = commit_image[(c) * 4 + k]; card[c].reply = 0;
        printf("card %d: commit %d of image %d begins\n", c, k, card[c].loading)
     :: else -> card[c].reply = REFUSED; tell_commit(c); printf("card %d: commit %d is refused\n", c, k)
     fi
  fi
}

inline load(c) {
  MUST(commit_of_verified, card[c].good == ALL && card[c].image == card[c].loading && card[c].state == VERIFIED);
  MUST(commit_once, !(card[c].loaded & BIT(card[c].commit)));
  card[c].loaded = card[c].loaded | BIT(card[c].commit);
  card[c].phase = 0; card[c].role = card[c].loading; card[c].loading = 0; card[c].epoch++; card[c].reply = OK;
  printf("card %d: runs image %d, epoch %d\n", c, card[c].role, card[c].epoch);
  tell_commit(c)
}

proctype CardBulk(byte c) {
  byte n, m;
end:
  do
  :: atomic { PICK_TRANSFER(MAY_OPEN); on_open(c, n); n = 0 }
  :: atomic { if :: MAY_DATA(0) -> n = 0 :: MAY_DATA(1) -> n = 1 fi; write(c, n); n = 0 }
  :: atomic { if :: MAY_GUARDED(0) -> n = 0 :: MAY_GUARDED(1) -> n = 1 fi; write(c, n); n = 0 }
  :: atomic {
       if :: MAY_POISON(0) -> n = 0 :: MAY_POISON(1) -> n = 1 fi;
       poison_left--;
       write(c, n); card[c].good = card[c].good & ~BIT(n);
       printf("card %d: takes a forged block %d\n", c, n); n = 0
     }
  :: atomic { MAY_HASH(c) -> hash(c) }
  :: atomic { HERE(c) && flight[c].poll && !flight[c].nack && card[c].transfer == transfer && card[c].have == ALL ->
       flight[c].nack = 1 }
  :: atomic { MAY_CLOSE(c) -> on_close(c) }
  :: atomic { MAY_CONCLUDE(c) -> conclude(c) }
  :: atomic { if :: MAY_INVALIDATE(1) -> n = 1 :: MAY_INVALIDATE(2) -> n = 2 fi; on_invalidate(c, n); n = 0 }
  :: atomic { PICK_TRANSFER(MAY_ABORT); on_abort(c, n); n = 0 }
  :: atomic { if :: MAY_COMMIT(1) -> n = 1 :: MAY_COMMIT(2) -> n = 2 :: MAY_COMMIT(3) -> n = 3 fi; on_commit(c, n); n = 0 }
  :: atomic { card[c].phase -> load(c) }
  :: atomic { card[c].session && lapses_left && !calm -> lapses_left--; card[c].session = 0; printf("card %d: lease ends\n", c) }
  :: atomic {
       reboots_left && !calm -> reboots_left--; forget_all(c); card[c].epoch = 0; printf("card %d: reboots\n", c)
     }
  :: atomic {
       scrubs_left && card[c].owned && !calm ->
       scrubs_left--; forget_all(c); card[c].epoch++; printf("card %d: another owner takes it, and lets go\n", c)
     }
  od
}

/* -- host ------------------------------------------------------------------------------------------------------ */

inline no_frames(c) {
  flight[c].open = 0; flight[c].abort = 0; flight[c].unwanted = 0; flight[c].ready = 0; flight[c].poll = 0; flight[c].nack = 0;
  flight[c].close = 0; flight[c].closing = 0; flight[c].verdict = 0; flight[c].invalidate = 0;
  flight[c].invalidated = 0; flight[c].guarded = 0; flight[c].commits = 0; flight[c].committed = 0
}

inline give_up(c) {
  if
#ifndef BROKEN_ABORT_AT_ONCE
  :: member[c].state == OPENING && member[c].session -> flight[c].unwanted = flight[c].unwanted | BIT(transfer)
  :: member[c].state != OPENING && !ENDED(c) && member[c].session ->
#else
  :: !ENDED(c) && member[c].session ->
#endif
     flight[c].abort = flight[c].abort | BIT(transfer)
  :: else
  fi;
  if :: !ENDED(c) -> member[c].state = FAILED :: else fi;
  no_answers(c)
}

inline no_answers(c) {
  flight[c].ready = 0; flight[c].poll = 0; flight[c].nack = 0; flight[c].closing = 0; flight[c].verdict = 0;
  flight[c].invalidated = 0
}

/* The session is over for good: everything in flight ends, and the card's memory is not known. */
inline void_member(c) {
  if :: !ENDED(c) -> member[c].state = FAILED :: else fi;
  if :: member[c].programmed == 3 -> member[c].programmed = REFUSED :: else fi;
  member[c].session = 0; member[c].image = 0; member[c].commit = 0; member[c].epoch = 0;
  member[c].repair = 0; member[c].repairs = 0;
  no_frames(c);
  flight[c].forget_1 = 0; flight[c].forget_2 = 0
}

#define OURS(c) (staging && transfer == card[c].transfer && member[c].state != UNUSED)
/* A transfer that the card holds and that nobody here fills. */
#if defined(BROKEN_VERIFYING_LEFT)
#define LEFT_OVER(c) (card[c].transfer && (card[c].state == RECEIVING || card[c].state == BAD) && !(OURS(c) && !ENDED(c)))
#elif defined(BROKEN_FAILED_LEFT)
#define LEFT_OVER(c) (card[c].transfer && card[c].state != VERIFIED && !OURS(c))
#else
#define LEFT_OVER(c) (card[c].transfer && card[c].state != VERIFIED && !(OURS(c) && !ENDED(c)))
#endif

inline open_session(c) {
  sessions_left[c]--;
  if :: member[c].session && !card[c].owned -> void_member(c) :: else fi;
  m = flight[c].abort;   /* asked on in the new session */
  n = flight[c].unwanted;
  no_frames(c);
  flight[c].abort = m; flight[c].unwanted = n; flight[c].open = n; m = 0; n = 0;
  card[c].session = 1 + SESSIONS_OPENED - sessions_left[c];
  card[c].owned = 1;
  member[c].session = card[c].session;
  if :: card[c].commit > member[c].commit -> member[c].commit = card[c].commit :: else fi;
  member[c].epoch = card[c].epoch;
  member[c].image = (card[c].state == VERIFIED -> card[c].image : 0);
#ifndef BROKEN_TRANSFER_IDS
  if :: card[c].newest >= next_transfer -> next_transfer = card[c].newest + 1 :: else fi;
#endif
  if :: LEFT_OVER(c) -> flight[c].abort = flight[c].abort | BIT(card[c].transfer) :: else fi;
  printf("host: session %d with card %d\n", card[c].session, c);
  resend(c)
}

/* What waits for an answer is asked again in the new session. */
inline resend(c) {
  if
  :: member[c].state == OPENING -> flight[c].open = flight[c].open | BIT(transfer)
  :: member[c].state == RECEIVING -> flight[c].poll = 1; if :: member[c].repairs -> flight[c].guarded = ALL :: else fi
  :: member[c].state == VERIFYING -> flight[c].close = 1; flight[c].closing = 1
  :: member[c].state == INVALIDATING -> flight[c].invalidate = BIT(member[c].repair)
  :: else
  fi;
  if :: member[c].programmed == 3 -> flight[c].commits = BIT(member[c].commit) :: else fi
}

inline believe_verified(c) {
  member[c].state = VERIFIED; member[c].image = image; no_answers(c);
  printf("host: card %d holds image %d\n", c, image);
  MUST(done_is_durable, !HERE(c) || (card[c].state == VERIFIED && card[c].image == image && card[c].good == ALL))
}

inline receive(c) {
  no_answers(c); member[c].state = RECEIVING; flight[c].poll = 1
}

inline send_invalidate(c) {
  member[c].repair++; member[c].state = INVALIDATING;
  if
  :: member[c].repair == 1 -> flight[c].forget_1 = ~card[c].right & ALL
  :: else -> flight[c].forget_2 = ~card[c].right & ALL
  fi;
  flight[c].invalidate = flight[c].invalidate | BIT(member[c].repair)
}

inline ask_commit(c) {
  if
#ifdef BROKEN_COMMIT_UNVERIFIED
  :: member[c].session ->
#else
  :: member[c].state == VERIFIED && member[c].session ->
#endif
     member[c].commit++; member[c].programmed = 3;
     MUST(id_fits, member[c].commit <= 3);
     commit_image[(c) * 4 + member[c].commit] = image; commit_over[(c) * 4 + member[c].commit] = member[c].epoch;
     flight[c].committed = 0;
     flight[c].commits = flight[c].commits | BIT(member[c].commit)
  :: else -> member[c].programmed = REFUSED
  fi
}

inline join(c) {
  member[c].programmed = 0; member[c].repairs = 0; member[c].repair = 0;
  flight[c].close = 0; flight[c].invalidate = 0; flight[c].guarded = 0; flight[c].forget_1 = 0; flight[c].forget_2 = 0;
  no_answers(c);
  if
  :: !member[c].session -> member[c].state = FAILED
  :: member[c].session && member[c].image == image -> member[c].state = VERIFIED
  :: else -> member[c].state = OPENING; member[c].image = 0; flight[c].open = flight[c].open | BIT(transfer)
  fi
}

#define IN_SESSION(c) HERE(c)
#ifdef CALM
/* the last request comes when faults have stopped: it has to succeed */
#define MAY_REQUEST (requests_left > 1 || (requests_left == 1 && calm && EACH(IN_SESSION)))
#else
#define MAY_REQUEST (requests_left > 0)
#endif
#define NOT_ASKED(c) (member[c].programmed != 3)

/* READY to an XFER_OPEN that was given up: the card holds it, or never will. */
#define MAY_DISOWN(t) (HERE(c) && (flight[c].unwanted & BIT(t)) && card[c].newest >= t)

proctype HostCard(byte c) {
  byte n, m;
end:
  do
  :: atomic { !HERE(c) && sessions_left[c] -> open_session(c) }
  /* its session goes on, but the card seemed to have lost it */
  :: atomic { HERE(c) && lapses_left && sessions_left[c] && !calm -> lapses_left--; open_session(c) }
  /* silent for a lease */
  :: atomic {
       member[c].session && lapses_left && !calm ->
       lapses_left--; printf("host: card %d is lost\n", c); void_member(c)
     }
  :: atomic { member[c].state == OPENING && (flight[c].ready & BIT(RECEIVING)) -> sent = sent | BIT(transfer); receive(c) }
  :: atomic { member[c].state == OPENING && (flight[c].ready & BIT(VERIFIED)) -> believe_verified(c) }
  :: atomic { member[c].state == OPENING && (flight[c].ready & BIT(UNUSED)) -> give_up(c) }
  :: atomic {
       member[c].state == RECEIVING && flight[c].nack ->
       no_answers(c); member[c].state = VERIFYING; flight[c].close = 1; flight[c].closing = 1
     }
  :: atomic { member[c].state == VERIFYING && (flight[c].verdict & BIT(VERIFIED)) -> believe_verified(c) }
  :: atomic { member[c].state == VERIFYING && (flight[c].verdict & BIT(RECEIVING)) -> receive(c) }
  :: atomic {
       member[c].state == VERIFYING && (flight[c].verdict & BIT(BAD)) ->
       if
       :: member[c].repairs < REPAIRS -> no_answers(c); member[c].repairs++; member[c].state = READING
       :: else -> give_up(c)
       fi
     }
  /* READ of the leaf digests and READ_DONE */
  :: atomic {
       member[c].state == READING && HERE(c) ->
       if
       :: card[c].transfer == transfer && card[c].state == BAD -> send_invalidate(c)
       :: else -> give_up(c)
       fi
     }
  :: atomic {
       member[c].state == INVALIDATING && flight[c].invalidated ->
       flight[c].guarded = flight[c].guarded | (member[c].repair == 1 -> flight[c].forget_1 : flight[c].forget_2);
       receive(c)
     }
  :: atomic { !ENDED(c) && give_ups_left && !calm -> give_ups_left--; printf("host: gives card %d up\n", c); give_up(c) }
  :: atomic {
       member[c].programmed == 3 && (flight[c].committed & BIT(OK)) ->
       member[c].programmed = OK; flight[c].committed = 0; member[c].epoch = card[c].epoch;
       printf("host: card %d is programmed with image %d\n", c, image);
       MUST(done_is_durable, !HERE(c) || (card[c].role == image && (card[c].loaded & BIT(member[c].commit))))
     }
  :: atomic {
       member[c].programmed == 3 && (flight[c].committed & BIT(REFUSED)) ->
       MUST(reply_of_attempt, !HERE(c) || !(card[c].loaded & BIT(member[c].commit)));
       member[c].programmed = REFUSED; member[c].image = 0; flight[c].committed = 0;
       if :: HERE(c) -> member[c].epoch = card[c].epoch :: else fi
     }
  :: atomic {
       PICK_TRANSFER(MAY_DISOWN);
       flight[c].unwanted = flight[c].unwanted & ~BIT(n);
       if :: card[c].transfer == n -> flight[c].abort = flight[c].abort | BIT(n) :: else fi;
       n = 0
     }
  /* ALIVE */
  :: atomic { HERE(c) && member[c].epoch < card[c].epoch -> member[c].epoch = card[c].epoch }
  od
}

proctype HostRequests() {
end:
  do
  :: atomic {
       !staging && !committing && MAY_REQUEST ->
       requests_left--;
       transfer = next_transfer; next_transfer++;
       MUST(id_fits, transfer <= 6);
       if :: image = 1 :: IMAGES == 2 -> image = 2 fi;
       image_of[transfer] = image;
       staging = 1;
       printf("host: program image %d, transfer %d\n", image, transfer);
       join(0);
#if CARDS == 2
       join(1)
#endif
     }
  :: atomic {
       staging && EACH(ENDED) ->
       staging = 0; committing = 1;
       ask_commit(0);
#if CARDS == 2
       ask_commit(1)
#endif
     }
  :: atomic { committing && EACH(NOT_ASKED) -> committing = 0; printf("host: request ended\n") }
  :: atomic {
       restarts_left && !calm ->
       restarts_left--;
       printf("host: restarts\n");
       staging = 0; committing = 0; image = 0; transfer = 0; next_transfer = 1;
       member[0].state = UNUSED; member[0].programmed = 0; void_member(0);
#if CARDS == 2
       member[1].state = UNUSED; member[1].programmed = 0; void_member(1)
#endif
     }
  od
}

init {
  atomic {
    run CardBulk(0); run HostCard(0);
#if CARDS == 2
    run CardBulk(1); run HostCard(1);
#endif
    run HostRequests()
  }
}

#ifdef CALM
active proctype FaultsStop() { calm = 1 }

/* Once faults have stopped, a program of all cards stages its image on every card and its COMMIT is answered, unless
 * sessions are used up before. (It is answered with bad_epoch when a COMMIT of an earlier life ended in between.) */
#define PROGRAMMED(c) (member[c].state == VERIFIED && (member[c].programmed == OK || member[c].programmed == REFUSED))
#define NO_SESSION_LEFT(c) (!HERE(c) && !sessions_left[c])
#if CARDS == 2
#define CUT (NO_SESSION_LEFT(0) || NO_SESSION_LEFT(1))
#else
#define CUT NO_SESSION_LEFT(0)
#endif
ltl progress { [] (calm -> <> ((!requests_left && !staging && !committing && EACH(PROGRAMMED)) || CUT)) }
#endif

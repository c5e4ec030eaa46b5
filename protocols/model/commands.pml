/* Commands on one card: RUN, DONE, KILL, the role epoch. Host 0 gives them; a rival may take the card over. One command
 * slot: slots share nothing but the role. Attempts are numbered from 1; a frame of one is a bit in a mask. */

#ifndef COMMANDS_GIVEN
#define COMMANDS_GIVEN 2
#endif
#ifndef KILLS
#define KILLS 0
#endif
#ifndef ROLES
#define ROLES 1        /* COMMITs of another role */
#endif
#define CARDS 1

#define BIT(a) (1 << (a))
#define IDLE 0
#define RUNNING 1
#define DONE 2

/* Frames of a session that are about. */
typedef Flight {
  unsigned runs : 4;     /* RUN of an attempt */
  unsigned done : 4;     /* DONE: the stored reply, of the attempt that the slot ran */
  unsigned refused : 4;  /* DONE: bad_epoch */
  unsigned stale : 4;    /* DONE: stale */
  unsigned kill : 3;     /* KILL */
  unsigned killed : 3;
  unsigned slot_id : 2;  /* what OPENED says */
  bit slot_runs;
  unsigned epoch : 3;
  unsigned last_kill : 2
};

typedef Attempt {
  unsigned id : 2;
  unsigned epoch : 3;
  unsigned boot : 2;     /* history */
  bit ran                /* history */
};

typedef Slot {
  unsigned id : 2;
  unsigned state : 2;
  unsigned attempt : 2;
  bit refused
};

Slot slot;
unsigned role_epoch : 3;
unsigned card_kill : 2;

Attempt attempt[COMMANDS_GIVEN + 1];
unsigned next_attempt : 3 = 1;
unsigned pending : 2;       /* host 0: the attempt without an answer */
unsigned last_id : 2;
unsigned believed_epoch : 3;
unsigned last_kill : 2;
bit orphan;                 /* a command of an earlier life runs, or may */
unsigned killing : 2;       /* KILL without an answer */
byte kill_bound[3];         /* history: attempts given before it was known to be done; 0: not known */
unsigned kills_left : 2 = KILLS;
unsigned roles_left : 2 = ROLES;

inline slot_cleared() {
  slot.id = 0; slot.state = IDLE; slot.attempt = 0; slot.refused = 0
}

inline card_forgets() {
  slot_cleared();
  card_kill = 0
}

inline host_forgets() {
  if :: pending -> printf("host 0: command %d ends, the card is lost\n", pending) :: else fi;
  pending = 0; last_id = 0; believed_epoch = 0; orphan = 0; last_kill = 0; killing = 0
}

inline host_adopts(n) {
  if
#ifndef BROKEN_COMMAND_IDS
  :: flight[n].slot_id > last_id -> last_id = flight[n].slot_id
#endif
  :: else
  fi;
  if :: flight[n].last_kill > last_kill -> last_kill = flight[n].last_kill :: else fi;
  orphan = flight[n].slot_runs && !pending;
  believed_epoch = flight[n].epoch;
  if :: pending -> flight[n].runs = flight[n].runs | BIT(pending) :: else fi;
  if :: killing -> flight[n].kill = flight[n].kill | BIT(killing) :: else fi
}

#define CARD_BOOTS(c) card_forgets(); role_epoch = 0
#define CARD_SCRUBS(c) card_forgets(); role_epoch++
#ifdef BROKEN_SLOTS_RESET
#define CARD_KEEPS(c) slot_cleared()
#else
#define CARD_KEEPS(c) skip
#endif
#define SNAPSHOT(n, c) \
  flight[n].slot_id = slot.id; flight[n].slot_runs = (slot.state == RUNNING); flight[n].epoch = role_epoch; \
  flight[n].last_kill = card_kill
#define HOST_VOIDS(s) if :: s == 0 -> host_forgets() :: else fi
#define HOST_ADOPTS(s, n) if :: s == 0 -> host_adopts(n) :: else fi

#define TIDY(n) \
  if :: ASKED(n) :: else -> \
    flight[n].slot_id = 0; flight[n].slot_runs = 0; flight[n].epoch = 0; flight[n].last_kill = 0 fi; \
  if :: BELIEVED(n) && opening[n].host == 0 :: else -> \
    flight[n].done = 0; flight[n].refused = 0; flight[n].stale = 0; flight[n].killed = 0 fi; \
  if :: IN_FORCE(n) || MAY_STILL_OPEN(n) :: else -> flight[n].runs = 0; flight[n].kill = 0 fi

/* An attempt that is neither waited for, nor in the slot, nor on the wire. */
#define TIDY_ALL \
  m = 1; \
  do \
  :: m < next_attempt -> \
     if \
     :: pending == m || slot.attempt == m || (flight[side[0].session].runs & BIT(m)) || \
        (flight[card[0].session].runs & BIT(m)) \
     :: else -> attempt[m].id = 0; attempt[m].epoch = 0; attempt[m].boot = 0; attempt[m].ran = 0 \
     fi; \
     m++ \
  :: else -> break \
  od; \
  m = 0

#ifndef OPENS
#define OPENS 3
#endif
Flight flight[OPENS + 1];
#include "session.pml"

/* -- card ------------------------------------------------------------------------------------------------------ */

#define S card[0].session

#define REPLY_KNOWN(a) ((slot.refused && (flight[S].refused & BIT(slot.attempt))) || \
  (!slot.refused && (flight[S].done & BIT(slot.attempt))))

/* RUN of attempt a is here, and does or says something it did not before. */
#ifdef BROKEN_SLOT_ID
#define NEWER(a) true
#else
#define NEWER(a) (attempt[a].id > slot.id)
#endif
#define MAY_RUN(a) (S && (flight[S].runs & BIT(a)) && !(slot.state == RUNNING && attempt[a].id >= slot.id) && \
  !(attempt[a].id == slot.id && !NEWER(a) && REPLY_KNOWN(a)) && \
  !(attempt[a].id < slot.id && (flight[S].stale & BIT(a))))

inline reply() {
  if
  :: S && opening[S].host == 0 && slot.refused -> flight[S].refused = flight[S].refused | BIT(slot.attempt)
  :: S && opening[S].host == 0 && !slot.refused -> flight[S].done = flight[S].done | BIT(slot.attempt)
  :: else
  fi
}

inline on_run(a) {
  if
  :: attempt[a].id < slot.id && !NEWER(a) ->
     flight[S].stale = flight[S].stale | BIT(a);
     printf("card: command %d is stale\n", a)
  :: attempt[a].id == slot.id && !NEWER(a) -> reply()
  :: else ->
     slot.id = attempt[a].id; slot.attempt = a; slot.refused = 0;
     if
#ifndef BROKEN_EPOCH
     :: attempt[a].epoch != role_epoch -> slot.state = DONE; slot.refused = 1; reply()
#endif
     :: else ->
        printf("card: runs command %d, id %d, epoch %d, in session %d\n", a, slot.id, role_epoch, S);
        MUST(at_most_once, !attempt[a].ran);
        MUST(command_boot, attempt[a].boot == card[0].boot);
        MUST(command_epoch, attempt[a].epoch == role_epoch);
        attempt[a].ran = 1;
        slot.state = RUNNING
     fi
  fi
}

#define MAY_KILL(k) (S && (flight[S].kill & BIT(k)) && !(flight[S].killed & BIT(k)))

inline on_kill(k) {
  if
#ifdef BROKEN_KILL_REPEATS
  :: k >= card_kill ->
#else
  :: k > card_kill ->
#endif
     card_kill = k;
     if
     :: slot.state == RUNNING ->
        printf("card: kill %d ends command %d\n", k, slot.attempt);
        MUST(kill_boundary, !kill_bound[k] || slot.attempt < kill_bound[k]);
        slot.state = DONE; reply()
     :: else
     fi
  :: else
  fi;
#ifndef BROKEN_KILL_REPEATS
  flight[S].killed = flight[S].killed | BIT(k)
#else
  if :: flight[S].killed = flight[S].killed | BIT(k) :: true fi
#endif
}

proctype CardCommands() {
  byte a, m;
end:
  do
  :: atomic {
       if
       :: MAY_RUN(1) -> a = 1
#if COMMANDS_GIVEN >= 2
       :: MAY_RUN(2) -> a = 2
#endif
#if COMMANDS_GIVEN >= 3
       :: MAY_RUN(3) -> a = 3
#endif
       fi;
       on_run(a); a = 0; tidy()
     }
  :: atomic { slot.state == RUNNING ->
       slot.state = DONE; reply(); printf("card: command %d ends\n", slot.attempt); tidy()
     }
#if KILLS
  :: atomic { if :: MAY_KILL(1) -> a = 1 :: MAY_KILL(2) -> a = 2 fi; on_kill(a); a = 0; tidy() }
#endif
  /* COMMIT: commands are drained first */
  :: atomic {
       S && opening[S].host == 0 && slot.state != RUNNING && roles_left && !calm ->
       roles_left--; role_epoch++; printf("card: another role, epoch %d\n", role_epoch)
     }
  od
}

/* -- host 0 ---------------------------------------------------------------------------------------------------- */

#define B side[0].session

/* DONE of attempt a came under the session believed (or of another one, when broken). */
#ifdef BROKEN_REPLY_UNBOUND
#define CAME(kind, a) (BITS(1, kind, a) || BITS(2, kind, a) || BITS(3, kind, a))
#define BITS(n, kind, a) (n < next_open && (flight[n].kind & BIT(a)))
#else
#define CAME(kind, a) (flight[B].kind & BIT(a))
#endif
#define ANSWERS(kind, a) (B && pending && a < next_attempt && attempt[a].id == attempt[pending].id && CAME(kind, a))

inline on_done(a) {
  printf("host 0: takes the reply of command %d for that of %d\n", a, pending);
  MUST(reply_of_attempt, a == pending);
  MUST(done_is_durable, attempt[a].ran);
  pending = 0
}

inline on_refusal(a) {
  printf("host 0: command %d did not run\n", pending);
  MUST(reply_of_attempt, a == pending && !attempt[pending].ran);
  pending = 0
}

proctype HostCommands() {
  byte a, m;
end:
  do
  :: atomic {
       B && !pending && !orphan && next_attempt <= COMMANDS_GIVEN ->
       pending = next_attempt;
       next_attempt++;
       last_id++;
       attempt[pending].id = last_id;
       attempt[pending].epoch = believed_epoch;
       attempt[pending].boot = side[0].boot;
       flight[B].runs = flight[B].runs | BIT(pending);
       printf("host 0: command %d, id %d, epoch %d, in session %d\n", pending, last_id, believed_epoch, B)
     }
  :: atomic {
       if
       :: ANSWERS(done, 1) -> a = 1
#if COMMANDS_GIVEN >= 2
       :: ANSWERS(done, 2) -> a = 2
#endif
#if COMMANDS_GIVEN >= 3
       :: ANSWERS(done, 3) -> a = 3
#endif
       fi;
       on_done(a); a = 0; tidy()
     }
  :: atomic {
       if
       :: ANSWERS(refused, 1) || ANSWERS(stale, 1) -> a = 1
#if COMMANDS_GIVEN >= 2
       :: ANSWERS(refused, 2) || ANSWERS(stale, 2) -> a = 2
#endif
#if COMMANDS_GIVEN >= 3
       :: ANSWERS(refused, 3) || ANSWERS(stale, 3) -> a = 3
#endif
       fi;
       on_refusal(a); a = 0; tidy()
     }
  /* ALIVE */
  :: atomic { B && B == S && believed_epoch < role_epoch -> believed_epoch = role_epoch }
  :: atomic { B && B == S && orphan && slot.state != RUNNING -> orphan = 0 }
#if KILLS
  :: atomic {
       B && !killing && kills_left ->
       kills_left--; last_kill++; killing = last_kill; kill_bound[killing] = 0;
       flight[B].kill = flight[B].kill | BIT(killing);
       printf("host 0: kill %d\n", killing)
     }
  :: atomic { B && killing && (flight[B].killed & BIT(killing)) ->
       kill_bound[killing] = next_attempt; printf("host 0: kill %d is done\n", killing); killing = 0
     }
#endif
  od
}

init { atomic { sessions_begin(); run CardCommands(); run HostCommands() } }

#ifdef CALM
active proctype FaultsStop() { calm = 1 }

/* Once faults have stopped, every command ends, unless SESSION_OPENs are used up. */
ltl progress { [] (calm -> <> ((!pending && !orphan) || next_open > OPENS)) }
#endif

/* Sessions: discovery's hints, SESSION_OPEN, OPENED, leases, restarts of hosts, reboots of cards.
 *
 * A frame in flight is a bit that is not cleared while the frame could still do something: whatever was sent may arrive
 * at any time, any number of times, in any order, or never. That is loss, repetition and reordering, and a forger who
 * recorded everything, at once. The replay window is left out on purpose, so that nothing leans on it. A frame's key is
 * the number n of the SESSION_OPEN that made it: a new host nonce for each, with owner, generation, boot nonce and
 * addresses behind it.
 *
 * The family that includes this file defines what else a card and a host hold:
 *   CARD_BOOTS(c) CARD_SCRUBS(c) CARD_KEEPS(c) SNAPSHOT(n, c)   on the card
 *   HOST_VOIDS(s) HOST_ADOPTS(s, n)                            on the host, s = SIDE(h, c)
 *   TIDY(n) TIDY_ALL                                           what of theirs cannot matter any more
 */

#ifndef HOSTS
#define HOSTS 2
#endif
#ifndef CARDS
#define CARDS 1
#endif
#ifndef OPENS
#define OPENS 4       /* SESSION_OPENs with a nonce of their own */
#endif
#ifndef RESTARTS
#define RESTARTS 1    /* of hosts */
#endif
#ifndef REBOOTS
#define REBOOTS 1     /* of cards */
#endif
#ifndef TAKEOVERS
#define TAKEOVERS 1
#endif

#define SIDE(h, c) ((h) * CARDS + (c))

/* A SESSION_OPEN and what the card answered to it. Numbers from 1; boot 0: nothing can come of it any more. */
typedef Opening {
  unsigned host : 1;
  unsigned card : 1;
  unsigned generation : 4;
  unsigned boot : 2;         /* the boot nonce of the HELLO that it answers */
  unsigned count : 3;        /* challenge that it echoes, as the card's how-manieth of the boot */
  bit takeover;
  bit opened;                /* OPENED: ok */
  bit kept;
  unsigned opened_boot : 2;  /* history: the boot in which the card opened it */
  bit busy;                  /* OPENED: busy */
  bit challenge;             /* OPENED: bad_challenge */
  byte stale;                /* OPENED: stale_generation, a bit for each generation told */
  bit judged;                /* history: the card answered it */
  bit used;                  /* history: the host believed in it, so its frames are about */
  bit over                   /* history: the card left it */
};

typedef Host {
  unsigned generation : 4;
  unsigned kept : 4;         /* the generation on its disk: all that a restart finds */
  unsigned used : 4          /* history: the highest of any life */
};

/* What a host knows of a card. */
typedef Side {
  unsigned asking : 3;       /* SESSION_OPEN without an answer */
  unsigned session : 3;      /* believed */
  unsigned boot : 2;         /* of the session */
  unsigned generation : 4    /* of the latest SESSION_OPEN */
};

typedef Card {
  unsigned boot : 2;
  unsigned session : 3;
  unsigned owner : 2;        /* host + 1; 0: nobody */
  unsigned generation : 4;
  unsigned count : 3         /* which challenge of this boot */
};

Opening opening[OPENS + 1];
Host host[HOSTS];
Side side[HOSTS * CARDS];
Card card[CARDS];
unsigned next_open : 4 = 1;
unsigned restarts_left : 2 = RESTARTS;
unsigned reboots_left : 2 = REBOOTS;
unsigned takeovers_left : 2 = TAKEOVERS;
bit calm;                    /* faults have stopped */

#if OPENS == 2
#define PICK_OPEN(may) if :: may(1) -> n = 1 :: may(2) -> n = 2 fi
#elif OPENS == 3
#define PICK_OPEN(may) if :: may(1) -> n = 1 :: may(2) -> n = 2 :: may(3) -> n = 3 fi
#elif OPENS == 4
#define PICK_OPEN(may) if :: may(1) -> n = 1 :: may(2) -> n = 2 :: may(3) -> n = 3 :: may(4) -> n = 4 fi
#elif OPENS == 5
#define PICK_OPEN(may) \
  if :: may(1) -> n = 1 :: may(2) -> n = 2 :: may(3) -> n = 3 :: may(4) -> n = 4 :: may(5) -> n = 5 fi
#else
#define PICK_OPEN(may) if :: may(1) -> n = 1 :: may(2) -> n = 2 :: may(3) -> n = 3 :: may(4) -> n = 4 \
  :: may(5) -> n = 5 :: may(6) -> n = 6 fi
#endif

#define ASKED(n) (side[SIDE(opening[n].host, opening[n].card)].asking == n)
#define BELIEVED(n) (side[SIDE(opening[n].host, opening[n].card)].session == n)
#define IN_FORCE(n) (card[opening[n].card].session == n)
#define MAY_STILL_OPEN(n) (opening[n].boot == card[opening[n].card].boot && \
  opening[n].count == card[opening[n].card].count)

/* Forget what cannot matter any more, so that states that differ in nothing are one. It leans on nothing but what the
 * guards below say: an answer that nobody waits for, a SESSION_OPEN that the card will refuse for ever. With
 * KEEP_ALL nothing is forgotten: for variants that are broken just there. */
inline tidy() {
#ifndef KEEP_ALL
  d_step {
  m = 1;
  do
  :: m < next_open ->
     if
     :: ASKED(m)
     :: else ->
        opening[m].busy = 0; opening[m].challenge = 0; opening[m].stale = 0;
        opening[m].opened = 0; opening[m].opened_boot = 0; opening[m].kept = 0
     fi;
     if
     :: MAY_STILL_OPEN(m) || ASKED(m)
     :: else -> opening[m].takeover = 0; opening[m].generation = 0; opening[m].judged = 0; opening[m].used = 0;
        opening[m].over = 0
     fi;
     if
     :: ASKED(m) || BELIEVED(m) || IN_FORCE(m) || MAY_STILL_OPEN(m)
     :: else -> opening[m].boot = 0; opening[m].count = 0; opening[m].host = 0; opening[m].card = 0
     fi;
     TIDY(m);
     m++
  :: else -> break
  od;
  m = 0;
  TIDY_ALL
  }
#else
  skip
#endif
}

/* -- card ------------------------------------------------------------------------------------------------------ */

inline leave_session(c) {
  if
  :: card[c].session -> opening[card[c].session].over = 1; card[c].session = 0
  :: else
  fi
}

inline open_session(c, n) {
  leave_session(c);
  MUST(stale_frame, !(opening[n].over && opening[n].used));
#ifndef BROKEN_CHALLENGE            /* it breaks this at once, and is to show what comes of it */
  MUST(opens_once, !opening[n].judged);
#endif
  opening[n].kept = (card[c].owner == opening[n].host + 1);
  if
  :: opening[n].kept -> CARD_KEEPS(c)
  :: !opening[n].kept && card[c].owner -> CARD_SCRUBS(c)
  :: else
  fi;
  card[c].owner = opening[n].host + 1;
  card[c].generation = opening[n].generation;
  card[c].count = card[c].count + 1;
  card[c].session = n;
  opening[n].opened = 1;
  opening[n].opened_boot = card[c].boot;
  SNAPSHOT(n, c);
  printf("card %d: opens session %d for owner %d, kept %d\n", c, n, card[c].owner, opening[n].kept)
}

#ifdef BROKEN_CHALLENGE
#define SAME_COUNT(n, c) true
#else
#define SAME_COUNT(n, c) (opening[n].count == card[c].count)
#endif
#ifdef BROKEN_BOOT_NONCE
#define SAME_BOOT(n, c) true
#else
#define SAME_BOOT(n, c) (opening[n].boot == card[c].boot)
#endif

/* Whoever is refused for another reason than the challenge has used it up. */
#ifdef BROKEN_REFUSAL_RENEWS
#define RENEW(c)
#else
#define RENEW(c) card[c].count = card[c].count + 1
#endif

inline judge_open(c, n) {
  if
#ifndef BROKEN_CHALLENGE
  :: opening[n].count != card[c].count ->
     opening[n].challenge = 1;
     printf("card %d: refuses open %d, bad_challenge: count is %d\n", c, n, card[c].count)
#endif
  :: SAME_COUNT(n, c) && card[c].owner == opening[n].host + 1 &&
     !(opening[n].generation > card[c].generation ||
       (opening[n].generation == card[c].generation && card[c].session == 0)) ->
     opening[n].stale = opening[n].stale | (1 << card[c].generation);
     RENEW(c);
     printf("card %d: refuses open %d, stale_generation: is %d\n", c, n, card[c].generation)
  :: SAME_COUNT(n, c) && card[c].owner != opening[n].host + 1 && card[c].session && !opening[n].takeover ->
     opening[n].busy = 1;
     RENEW(c);
     printf("card %d: refuses open %d, busy\n", c, n)
  :: else -> open_session(c, n)
  fi;
  opening[n].judged = 1
}

#define ANSWERED(n) (opening[n].opened || opening[n].busy || opening[n].challenge || opening[n].stale)

/* Any SESSION_OPEN ever sent, of this boot and not the one in force (which is answered again from store). */
#define MAY_OPEN(n) (n < next_open && opening[n].card == c && opening[n].boot && SAME_BOOT(n, c) && \
  card[c].session != n && !(calm && (ANSWERED(n) || !ASKED(n))))

inline reboot(c) {
  leave_session(c);
  card[c].boot = card[c].boot + 1;
  card[c].owner = 0;
  card[c].generation = 0;
  card[c].count = 0;
  CARD_BOOTS(c);
  printf("card %d: reboots, boot %d\n", c, card[c].boot)
}

/* The lease ends by time, or by SESSION_CLOSE, which may arrive or not. Once calm, that of whom is answered lasts. */
#define MAY_LAPSE (card[c].session && (!calm || !BELIEVED(card[c].session) && !ASKED(card[c].session)))

proctype CardSessions(byte c) {
  byte n, m;
end:
  do
  :: atomic { PICK_OPEN(MAY_OPEN); judge_open(c, n); n = 0; tidy() }
  :: atomic { MAY_LAPSE -> printf("card %d: lease ends\n", c); leave_session(c); tidy() }
  :: atomic { reboots_left && !calm -> reboots_left--; reboot(c); tidy() }
  od
}

/* -- host ------------------------------------------------------------------------------------------------------ */

inline raise_generation(h, to) {
  if
  :: to > host[h].generation ->
     host[h].generation = to;
     host[h].used = to;
#ifndef BROKEN_GENERATION_KEPT
     host[h].kept = to            /* KeepGeneration comes before the first frame that carries it */
#endif
  :: else
  fi
}

inline start(h) {
  MUST(generation_used_once, host[h].kept + 1 > host[h].used);
  host[h].generation = 0;
  raise_generation(h, host[h].kept + 1);
  printf("host %d: starts, generation %d\n", h, host[h].generation)
}

inline void_side(s) {
  HOST_VOIDS(s);
  side[s].session = 0;
  side[s].boot = 0;
  if :: side[s].asking :: else -> side[s].generation = 0 fi
}

inline send_open(h, c, s) {
  if
  :: side[s].session && side[s].boot == opening[next_open].boot -> raise_generation(h, side[s].generation + 1)
  :: else
  fi;
  MUST(id_fits, host[h].generation <= 7);
  side[s].generation = host[h].generation;
  opening[next_open].host = h;
  opening[next_open].card = c;
  opening[next_open].generation = host[h].generation;
  side[s].asking = next_open;
  printf("host %d: open %d to card %d, boot %d, count %d, generation %d, takeover %d\n", h, next_open, c,
    opening[next_open].boot, opening[next_open].count, host[h].generation, opening[next_open].takeover);
  next_open++
}

inline adopt(h, c, s) {
  /* n is the SESSION_OPEN that was answered */
  MUST(session_boot, opening[n].opened_boot == opening[side[s].asking].boot);
#if HOSTS == 2
  MUST(one_owner, side[SIDE(1 - h, c)].session != n);
#endif
  if
  :: side[s].session && !(opening[n].kept && side[s].boot == opening[n].boot) -> void_side(s)
  :: else
  fi;
  side[s].session = n;
  side[s].boot = opening[n].boot;
  side[s].asking = 0;
  opening[n].used = 1;
  HOST_ADOPTS(s, n);
  printf("host %d: in session %d with card %d\n", h, n, c)
}

#define ASKING side[s].asking
/* Answers to the SESSION_OPEN under way. */
#ifdef BROKEN_HOST_NONCE
#define MAY_ADOPT(n) (ASKING && n < next_open && opening[n].card == c && opening[n].opened)
#else
#define MAY_ADOPT(n) (ASKING == n && n < next_open && opening[n].opened)
#endif
#define TOLD(k) (ASKING && (opening[ASKING].stale & (1 << k)))

/* A calm host opens only when it needs to; its rival rests. */
#define WANTS_OPEN (next_open <= OPENS && (!calm || \
  (h == 0 && (!side[s].session || side[s].session != card[c].session))))

#define NEW_QUESTION(with_boot, with_count) (!ASKING || opening[ASKING].boot != with_boot || \
  opening[ASKING].count != with_count || opening[ASKING].generation != host[h].generation)

inline ask(with_boot, with_count) {
  opening[next_open].boot = with_boot;
  opening[next_open].count = with_count;
  if
  :: true
  :: takeovers_left && !calm -> takeovers_left--; opening[next_open].takeover = 1
  fi;
  send_open(h, c, s)
}

proctype HostSessions(byte h; byte c) {
  byte n, m;
  byte s = SIDE(h, c);
end:
  do
  /* HELLO, unasked or asked for, or the challenge that a refusal told: the card as it is */
  :: atomic {
       WANTS_OPEN && NEW_QUESTION(card[c].boot, card[c].count) -> ask(card[c].boot, card[c].count); tidy()
     }
  /* the same from a while ago, within this boot */
  :: atomic {
       WANTS_OPEN && !calm && card[c].count && NEW_QUESTION(card[c].boot, card[c].count - 1) ->
       ask(card[c].boot, card[c].count - 1); tidy()
     }
#ifdef BROKEN_CHALLENGE_RANDOM
  /* a forged one, that names the challenge to come */
  :: atomic {
       WANTS_OPEN && !calm && NEW_QUESTION(card[c].boot, card[c].count + 1) ->
       ask(card[c].boot, card[c].count + 1); tidy()
     }
#endif
  /* a HELLO of an earlier boot */
  :: atomic {
       WANTS_OPEN && !calm && card[c].boot > 1 && NEW_QUESTION(card[c].boot - 1, 0) ->
       ask(card[c].boot - 1, 0); tidy()
     }
  :: atomic { PICK_OPEN(MAY_ADOPT); adopt(h, c, s); n = 0; tidy() }
  :: atomic {
       ASKING && opening[ASKING].challenge ->
       ASKING = 0; if :: side[s].session :: else -> side[s].generation = 0 fi; tidy()
     }
  :: atomic {
       if
       :: TOLD(1) -> n = 1 :: TOLD(2) -> n = 2 :: TOLD(3) -> n = 3 :: TOLD(4) -> n = 4 :: TOLD(5) -> n = 5
       :: TOLD(6) -> n = 6
       fi;
       raise_generation(h, n + 1);
       ASKING = 0; n = 0;
       if :: side[s].session :: else -> side[s].generation = 0 fi;
       tidy()
     }
  :: atomic {
       ASKING && opening[ASKING].busy ->
       ASKING = 0;
       void_side(s);
       printf("host %d: card %d is busy\n", h, c);
       tidy()
     }
  /* silent for a lease, or done with it */
  :: atomic {
       side[s].session && (!calm || h == 1) ->
       printf("host %d: leaves session %d of card %d\n", h, side[s].session, c);
       void_side(s); tidy()
     }
  od
}

/* A host starts, and starts anew after a crash: what is on its disk and on the wire is all that is left. */
proctype HostLife(byte h) {
  byte m;
end:
  do
#ifdef BROKEN_GENERATION_KEPT
  :: atomic { host[h].kept < host[h].generation && !calm -> host[h].kept = host[h].generation }
#endif
  :: atomic {
       restarts_left && !calm ->
       restarts_left--;
       printf("host %d: crashes\n", h);
       side[SIDE(h, 0)].asking = 0; void_side(SIDE(h, 0));
#if CARDS == 2
       side[SIDE(h, 1)].asking = 0; void_side(SIDE(h, 1));
#endif
       start(h);
       tidy()
     }
  od
}

inline sessions_begin() {
  card[0].boot = 1;
#if CARDS == 2
  card[1].boot = 1;
#endif
  start(0);
#if HOSTS == 2
  start(1);
#endif
  run CardSessions(0);
  run HostLife(0);
  run HostSessions(0, 0);
#if HOSTS == 2
  run HostLife(1);
  run HostSessions(1, 0);
#endif
#if CARDS == 2
  run CardSessions(1);
  run HostSessions(0, 1);
#if HOSTS == 2
  run HostSessions(1, 1);
#endif
#endif
}

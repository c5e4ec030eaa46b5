/* Sessions alone: who owns a card, and whose frames it takes. */

#define CARD_BOOTS(c) skip
#define CARD_SCRUBS(c) skip
#define CARD_KEEPS(c) skip
#define SNAPSHOT(n, c) skip
#define HOST_VOIDS(s) skip
#define HOST_ADOPTS(s, n) skip
#define TIDY(n) skip
#define TIDY_ALL skip

#include "session.pml"

init { atomic { sessions_begin() } }

#ifdef CALM
active proctype FaultsStop() { calm = 1 }

/* Once faults have stopped, the host that goes on gets its session, unless its SESSION_OPENs are used up. */
ltl progress { [] (calm -> <> ((side[0].session && side[0].session == card[0].session) || next_open > OPENS)) }
#endif

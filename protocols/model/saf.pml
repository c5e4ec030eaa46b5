/* Promela model of the protocol. Say which part: -DSESSIONS, -DCOMMANDS or -DBULK. See README.md and docs/model.md. */

#include "properties.pml"

#if defined(SESSIONS)
#include "sessions_only.pml"
#elif defined(COMMANDS)
#include "commands.pml"
#else
#include "bulk.pml"
#endif

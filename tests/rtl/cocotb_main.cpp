// main() of every cocotb test: cocotb's own for Verilator, compiled once. It sees the model through the class below,
// which model_shim.cpp of each build implements, so that only the model itself is compiled for a test.
#include "verilated.h"

class SafModel {
  void* model_;

 public:
  explicit SafModel(const char* name);
  ~SafModel();
  void eval_step();
  void eval_end_step();
  bool eventsPending();
  uint64_t nextTimeSlot();
  void final();
};

#define Vtop SafModel
#include "verilator.cpp"

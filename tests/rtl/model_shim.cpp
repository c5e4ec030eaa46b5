// The model of one build behind the class that cocotb_main.cpp uses.
#include "Vtop.h"

class SafModel {
  void* model_;
  Vtop* top() { return static_cast<Vtop*>(model_); }

 public:
  explicit SafModel(const char* name);
  ~SafModel();
  void eval_step();
  void eval_end_step();
  bool eventsPending();
  uint64_t nextTimeSlot();
  void final();
};

SafModel::SafModel(const char* name) : model_(new Vtop(name)) {}
SafModel::~SafModel() { delete top(); }
void SafModel::eval_step() { top()->eval_step(); }
void SafModel::eval_end_step() { top()->eval_end_step(); }
bool SafModel::eventsPending() { return top()->eventsPending(); }
uint64_t SafModel::nextTimeSlot() { return top()->nextTimeSlot(); }
void SafModel::final() { top()->final(); }

// Recorded steps as graphs of the driver.
#include "core/cuda/driver.h"

namespace dlcore::cuda {

struct Graph {
  const uint8_t device;
  const Handle graph;
  Handle executable = nullptr;
  explicit Graph(const Captured& captured) : device(captured.device), graph(captured.graph) {}
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
  ~Graph() {
    give_up(device, [&] {
      if (executable) driver.cuGraphExecDestroy(executable);
      driver.cuGraphDestroy(graph);
    });
  }
};

void capture_begin(uint8_t device) {
  const Entered place(device, "another recording");
  if (place->captured) throw std::runtime_error("another thread records a step on this GPU");
  CHECK(cuStreamBeginCapture, place->capturing, kCaptureThreadLocal);
  place->captured = true;
  capturer = &*place;
}

Captured capture_end(uint8_t device) {
  const Entered place(device);
  if (!place.captures()) throw std::runtime_error("capture_end: nothing is being recorded");
  place->captured = false;
  capturer = nullptr;
  Captured captured{device, nullptr, 0};
  CHECK(cuStreamEndCapture, place->capturing, &captured.graph);
  CHECK(cuGraphGetNodes, captured.graph, nullptr, &captured.nodes);
  return captured;
}

void capture_abandon(uint8_t device) noexcept {
  Place& place = places[device];
  if (capturer != &place) return;
  place.captured = false;
  capturer = nullptr;
  give_up(device, [&] {
    Handle graph = nullptr;
    driver.cuStreamEndCapture(place.capturing, &graph);
    if (graph) driver.cuGraphDestroy(graph);
  });
}

std::shared_ptr<Graph> instantiate(Captured captured) {
  const Entered place(captured.device);
  auto graph = std::make_shared<Graph>(captured);
  CHECK(cuGraphInstantiateWithFlags, &graph->executable, captured.graph, 0);
  return graph;
}

void launch_graph(const Graph& graph) {
  const Entered place(graph.device);
  CHECK(cuGraphLaunch, graph.executable, place->stream);
}

}  // namespace dlcore::cuda
